"""Scored boxes for the contracts of what chooses few of many: suppression, proposals, detections.

Boxes are eight pixels wide and high and stand whole pixels apart, so that an intersection is a product of two whole
numbers up to 8, and no IoU comes near 0.7, 0.65, 0.5 or 0.4 (that would need one of 896/17, 1664/33, 128/3 or 256/7).
Cut to an image they may reach one: a quotient of two small whole numbers, which every format rounds as the threshold.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.contract import Array, Case
from steelyard.conformance.generation import Draw
from steelyard.conformance.real_data import ProposalsOfImage, proposals_of_image

SIDE = 8.0
THRESHOLDS = (0.7, 0.5, 0.65, 0.4)
INPUT_SIDE = 320.0
"""Of the detector of the real proposals, in pixels."""


def places(draw: Draw, number: int) -> Array:
    """Boxes in clusters."""
    x = draw.array((number,), lambda: float(draw.choice((0, 1, 2, 3, 4, 16))))
    y = draw.array((number,), lambda: float(draw.choice((0, 0, 1, 2, 16))))
    return np.stack([x, y, x + SIDE, y + SIDE], axis=-1)


def distinct_scores(draw: Draw, number: int) -> Array:
    """Odd multiples of 1/64, from 1/64 on, in any order."""
    order = np.argsort(np.argsort(draw.array((number,), draw.fraction), kind="stable"), kind="stable")
    return (2.0 * order + 1.0) / 64.0


def few_scores(draw: Draw, number: int) -> Array:
    """One of three scores each."""
    return draw.array((number,), lambda: draw.choice((0.5, 0.25, 0.75)))


def halves_and_quarters(draw: Draw, number: int) -> Array:
    """Boxes of one width with heights in proportion of 2: IoUs of 1, 1/2 and 1/4, and boxes that touch."""
    height = draw.array((number,), lambda: draw.choice((8.0, 4.0, 2.0)))
    x = draw.array((number,), lambda: draw.choice((0.0, 0.0, 8.0)))
    return np.stack([x, np.zeros(number), x + 8.0, height], axis=-1)


def real_proposals(seed: int) -> ProposalsOfImage:
    """The 256 best boxes of a detector on a photograph; scores are float16 logits, several of them equal."""
    return proposals_of_image(seed)


def on_the_grid(moved: Array, case: Case) -> Array:
    """Inputs that were moved a little, brought back: ties and IoUs stay what they are."""
    return np.asarray(np.round(moved * 2.0**12) / 2.0**12)


def reordered(case: Case) -> Case:
    """The boxes in reverse; what is of the image stays."""
    number = len(case.arguments["boxes"])
    per_box = {name: values[::-1].copy() for name, values in case.arguments.items()
               if name != "image_size" and len(values) == number}  # fmt: skip
    return case.with_arguments(**per_box)


def magnified(case: Case) -> Case:
    """The picture four times as large, and the image with it."""
    large = {name: 4.0 * case.arguments[name] for name in ("boxes", "image_size") if name in case.arguments}
    return case.with_arguments(**large)
