"""Boxes for the contracts of the detection family.

Whole or half pixels: every format holds them, and areas and intersections are exact in float32, so that two boxes
touch, and an IoU lies on a threshold, in every format or in none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from steelyard.conformance.contract import Argument, Array, Case
from steelyard.conformance.generation import Draw

CORNERS = 12
SIDES = (4, 1, 2, 3, 5, 6, 8)
NO_OPTIONS: dict[str, None] = {}


def draw_boxes(
    draw: Draw, number: int, *, sides: Sequence[int] = SIDES, corners: int = CORNERS, scale: float = 1.0
) -> Array:
    """Boxes with their upper left corner in [0, corners), of the given sides; everything times the scale."""
    corner = draw.array((number, 2), lambda: float(draw.integer(0, corners - 1)))
    side = draw.array((number, 2), lambda: float(draw.choice(sides)))
    return scale * np.concatenate([corner, corner + side], axis=1)


def moved(boxes: Array, draw: Draw) -> Array:
    """Sometimes to where coordinates are negative."""
    return boxes - 6.0 if draw.flag(30) else boxes


def keeping_degenerate(name: str) -> Callable[[Array, Case], Array]:
    """Domain of an argument: a box without width or height stays as it is when inputs are moved a little."""

    def domain(values: Array, case: Case) -> Array:
        boxes = case.arguments[name]
        return np.where(is_degenerate(boxes)[:, None], boxes, values)

    return domain


def is_degenerate(boxes: Array) -> Array:
    """Which boxes have no width or no height, or a negative one."""
    return np.asarray((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))


def box_argument(name: str, length: str, doc: str) -> Argument:
    """Boxes as an argument."""
    return Argument(name, (length, "4"), "float", f"{doc}: x1, y1, x2, y2 in pixels", domain=keeping_degenerate(name))


def random_boxes(random: np.random.Generator, number: int) -> Array:
    """Boxes of every place and size in a photograph, as float32 holds them."""
    corner = random.uniform(-20.0, 600.0, (number, 2))
    boxes = np.concatenate([corner, corner + 2.0 ** random.uniform(0.0, 9.0, (number, 2))], axis=1)
    return boxes.astype(np.float32).astype(np.float64)


def without_last_coordinate(name: str) -> Callable[[Case], Case]:
    """Spoils an argument: boxes of three numbers."""
    return lambda case: case.with_arguments(**{name: case.arguments[name][:, :3].copy()})


def broadcasting_sides(boxes: Array) -> Array:
    """What reading `boxes[:, 2:]` as two sides makes of boxes of three numbers."""
    return boxes if boxes.shape[1] == 4 else np.concatenate([boxes, boxes[:, 2:]], axis=1)
