"""The generator of 10,000 boxes with an IoU of at least 0.7; no other library has it."""

import torch
from torch import Generator

from steelyard.impl.benchmarks.case import Axes, Case, Growth, Inputs
from steelyard.impl.generative.box_generator import generate_boxes


def _references(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    number, tries = axes["N"], axes["tries"]
    keys = (torch.rand((number, tries, 2), generator=generator, device=device) for _ in range(2))
    return {
        "boxes": torch.tensor([0.0, 0.0, 100.0, 50.0], device=device).repeat(number, 1),
        "minimum_ious": torch.full((number,), 0.7, device=device),
        "coin_keys": torch.rand(number, generator=generator, device=device),
        "first_keys": next(keys),
        "second_keys": next(keys),
    }


CASES: tuple[Case, ...] = (
    Case(
        technique="generate_boxes",
        axes={"N": 10_000, "tries": 64},
        make_inputs=_references,
        ours=generate_boxes,
        takes=("boxes", "minimum_ious", "coin_keys", "first_keys", "second_keys"),
        yardstick="first_keys",
        growth=(Growth("N", (100, 1_000, 10_000), {"tries": 64}),),
    ),
)
