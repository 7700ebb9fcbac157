"""Inputs, laws and requirements of functions of two lists of boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance.checking import BadInput, Bench, purity, refuses, same_as, value
from steelyard.conformance.contract import Case, Check, Kind, Level, Requirement, Ruling
from steelyard.conformance.detection.box_inputs import (
    draw_boxes,
    is_degenerate,
    moved,
    random_boxes,
    without_last_coordinate,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF

_SMALL = 2.0**-13  # a side of 1.2e-4: a small object in normalised coordinates

# --- inputs ---------------------------------------------------------------------------------------------------


class PairInputs:
    """Pairs of lists of boxes under the names that a function gives them."""

    def __init__(self, names: tuple[str, str] = ("boxes", "other_boxes"), *, aligned: bool = False) -> None:
        self.names = names
        self._aligned = aligned

    def _case(self, draw: Draw, **kind: Any) -> Case:  # noqa: ANN401
        number = draw.integer(1, 3)
        other = number if self._aligned else draw.integer(1, 4)
        one, two = draw_boxes(draw, number, **kind), draw_boxes(draw, other, **kind)
        return Case(dict(zip(self.names, (one, two), strict=True)), {}, draw.dtype())

    def with_area(self, draw: Draw) -> Case:
        """Boxes with an area: apart, overlapping, one in the other, equal."""
        case = self._case(draw, scale=draw.choice((1.0, 0.5, 8.0)))
        return case.with_arguments(**{name: moved(boxes, draw) for name, boxes in case.arguments.items()})

    def touching(self, draw: Draw) -> Case:
        """Boxes of one or two pixels in a corner of four: most pairs touch."""
        return self._case(draw, sides=(1, 2), corners=4)

    def degenerate(self, draw: Draw) -> Case:
        """Points and lines among the boxes, close together."""
        return self._case(draw, sides=(0, 0, 2, 4), corners=2)

    def inverted(self, draw: Draw) -> Case:
        """Boxes that end before they begin."""
        return self._case(draw, sides=(-2, 1, -3, 4), corners=4)

    def small(self, draw: Draw) -> Case:
        """Boxes in normalised coordinates, of a side of 1e-4 to 1e-3."""
        return self._case(draw, scale=_SMALL)

    def half(self, draw: Draw) -> Case:
        """Boxes of a side of up to 512 pixels, whose area float16 does not hold."""
        return self._case(draw, scale=draw.choice((64.0, 1.0)))

    def no_boxes(self, draw: Draw) -> Case:
        """No box in one list or in both."""
        case = self.with_area(draw)
        empty = self.names if self._aligned else draw.choice((self.names[:1], self.names[1:], self.names))
        return case.with_arguments(**{name: np.zeros((0, 4)) for name in empty})

    def crowd(self, seed: int) -> Case:
        """Thousands of pairs in a photograph."""
        random = np.random.default_rng(seed)
        numbers = (5000, 5000) if self._aligned else (40, 120)
        boxes = (random_boxes(random, number) for number in numbers)
        return Case(dict(zip(self.names, boxes, strict=True)), {}, "float32", origin=f"crowd {seed}")


PAIRS, ROWS, REGIONS = PairInputs(), PairInputs(aligned=True), PairInputs(("boxes", "regions"))


def _equal_pair(case: Case) -> bool:
    one, other = case.arguments.values()
    return bool((one[:, None] == other[None, :]).all(axis=-1).any())


def _touching_pair(case: Case) -> bool:
    one, other = (boxes[:, None] if n == 0 else boxes for n, boxes in enumerate(case.arguments.values()))
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    return bool(((high - low).min(axis=-1) == 0).any())


def _point_twice(case: Case) -> bool:
    return _equal_pair(case) and any(is_degenerate(boxes).any() for boxes in case.arguments.values())


# --- laws and bounds ------------------------------------------------------------------------------------------


def exchanged(case: Case) -> Case:
    """The two lists in the other order."""
    (one, a), (other, b) = case.arguments.items()
    return case.with_arguments(**{one: b, other: a})


def magnified(case: Case) -> Case:
    """The picture moved by (4, -8) and twice as wide, four times as high: exact in every format."""
    stretch, shift = np.array([2.0, 4.0, 2.0, 4.0]), np.array([4.0, -8.0, 4.0, -8.0])
    return case.with_arguments(**{name: boxes * stretch + shift for name, boxes in case.arguments.items()})


def between(low: float, high: float) -> Check:
    """Every number lies in [low, high], rounding aside."""

    def check(bench: Bench, case: Case) -> None:
        answer = bench.evaluate(case).outputs[0]
        inside = bool(((answer >= low - 1e-6) & (answer <= high + 1e-6)).all())
        bench.expect(inside, f"expected numbers in [{low:g}, {high:g}], got {answer.min()} to {answer.max()}", case)

    return check


# --- requirements that all have -------------------------------------------------------------------------------

IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"


def pair_requirements(
    prefix: str,
    inputs: PairInputs,
    definition: tuple[str, str],
    *,
    of_points: str,
    law: Requirement,
) -> tuple[Requirement, ...]:
    """Numbered PREFIX-1 and on; the law comes last."""
    text, source = definition
    pairs_count = inputs is not ROWS  # boxes of different rows are no pair there
    common = (
        Requirement("1", Level.MUST, Kind.VALUE, text, source, value, inputs.with_area, scenes=(inputs.crowd,),
                    dtypes=FULL, reaches={"an equal pair": _equal_pair} if pairs_count else {}),
        Requirement("2", Level.MUST, Kind.TIES, "Boxes that only touch share nothing.", "ruling no-plus-one", value,
                    inputs.touching, dtypes=FULL, examples=0.5,
                    reaches={"a touching pair": _touching_pair} if pairs_count else {},
                    no_mutant=f"one pixel more is seen by {prefix}-1 too; here the counterexample is two boxes that "
                              "touch"),
        Requirement("3", Level.MUST, Kind.EMPTY, of_points, "ruling degenerate", value, inputs.degenerate, dtypes=FULL,
                    reaches={"a point or line twice": _point_twice} if pairs_count else {}),
        Requirement("4", Level.MUST, Kind.EMPTY, "No boxes give an empty answer.", "house rule", value,
                    inputs.no_boxes, dtypes=FULL, examples=0.2),
        Requirement("5", Level.SHOULD, Kind.EMPTY, "A box with a negative side counts as one without area.",
                    "ruling degenerate", value, inputs.inverted, dtypes=FULL, examples=0.5),
        Requirement("6", Level.MUST, Kind.EXTREME, "Boxes in normalised coordinates have the overlap of the formula.",
                    "the formula has no unit", value, inputs.small, dtypes=FULL, examples=0.5),
        Requirement("7", Level.SHOULD, Kind.EXTREME, "Half-precision boxes have the overlap of float32.", "house rule",
                    value, inputs.half, dtypes=HALF, examples=0.5),
        Requirement("8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls give equal bits.",
                    "house rule", purity, inputs.with_area, dtypes=FULL, examples=0.3),
        Requirement("9", Level.SHOULD, Kind.ERROR, "Boxes of three numbers are refused.", "house rule",
                    refuses(*(BadInput(f"{n} of three numbers", without_last_coordinate(n)) for n in inputs.names)),
                    inputs.with_area, dtypes=FULL, examples=0.2),
    )  # fmt: skip
    implied = replace(law, no_mutant=IMPLIED.format(prefix))
    return tuple(replace(r, id=f"{prefix}-{number}") for number, r in enumerate((*common, implied), start=1))


def law_of_pairs(kind: Kind, text: str, check: Check, inputs: PairInputs = PAIRS) -> Requirement:
    """A law that `pair_requirements` numbers."""
    return Requirement("", Level.MUST, kind, text, "geometry", check, inputs.with_area, dtypes=FULL, examples=0.3)


STRETCHED = law_of_pairs(
    Kind.INVARIANCE,
    "Moving and stretching the picture changes nothing.",
    same_as(magnified, "overlap in the stretched picture"),
)
RULINGS = (
    Ruling("no-plus-one", "Coordinates are continuous: the width is x2 - x1, and boxes that touch share nothing."),
    Ruling("degenerate", "A box without width or height has area 0; a negative side counts as 0; 0/0 is 0."),
)
NOT_APPLICABLE = {
    Kind.GRADIENT: "overlaps choose candidates here; no technique of the specification differentiates them",
    Kind.DETACHED: "no gradient", Kind.LIMIT: "no limit", Kind.BATCH: "the boxes of one image; pairs are independent",
    Kind.DISTRIBUTION: "not random", Kind.REDUCES_TO: "nothing simpler to reduce to",
    Kind.CONSERVATION: "conserves nothing",
}  # fmt: skip
