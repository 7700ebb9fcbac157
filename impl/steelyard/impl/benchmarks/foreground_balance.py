"""OFB sampling of 16 images; no other library has it."""

import torch
from torch import Generator, Tensor

from steelyard.impl.benchmarks.case import Axes, Case, Growth, Inputs
from steelyard.impl.foreground_balance.ofb_sampling import foreground_balanced_sampling


def _positives(axes: Axes, device: torch.device, generator: Generator) -> Inputs:
    shape = axes["B"], axes["N"]
    return {
        "labels": torch.randint(81, shape, generator=generator, device=device),
        "keys": torch.rand(shape, generator=generator, device=device),
    }


def _drawn(labels: Tensor, keys: Tensor) -> Tensor:
    return foreground_balanced_sampling(labels, keys, num_classes=80, num_expected=64)


CASES: tuple[Case, ...] = (
    Case(
        technique="foreground_balanced_sampling",
        axes={"B": 16, "N": 512},
        make_inputs=_positives,
        ours=_drawn,
        takes=("labels", "keys"),
        yardstick="keys",
        growth=(Growth("N", (1_000, 10_000, 100_000, 1_000_000), {"B": 1}, 1.1),),
    ),
)
