"""Contracts of the distances between a point and the sides of its box, and of the way back.

Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
NeurIPS 2020 (arXiv 2006.04388), section on distribution focal loss; FCOS's parametrisation of a box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    float_format,
    gradient,
    permutation,
    purity,
    refuses,
    same_as,
    value,
    without_axes,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.plain_mistakes import (
    broadcasting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    unchecked,
)
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import dense_image
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.conformance.soft_sampling.soft_target_inputs import GFL_PAPER
from steelyard.reference.soft_sampling import distribution_focal_loss as oracle

_STRIDES = (8.0, 16.0, 32.0, 4.0)
_BINS = 17
_SIDES = np.array([-1.0, -1.0, 1.0, 1.0])

# --- inputs: whole pixels, which every format holds up to 256 -------------------------------------------------


def _points(draw: Draw) -> tuple[tuple[int, ...], Array, Array]:
    shape = draw.shape(draw.integer(1, 2), high=3)
    points = draw.array((*shape, 2), lambda: float(draw.integer(0, 99)))
    return shape, points, draw.array(shape, lambda: draw.choice(_STRIDES))


def _with_boxes(draw: Draw, side: Callable[[], float], *, num_bins: int = _BINS) -> Case:
    """Boxes around points; `side` draws a distance in strides."""
    shape, points, strides = _points(draw)
    away = draw.array((*shape, 4), side) * strides[..., None]
    boxes = np.concatenate([points, points], axis=-1) + _SIDES * away
    dtype = draw.dtype()
    arguments = {"points": points, "boxes": round_to(dtype, boxes), "strides": strides}
    return Case(arguments, {"num_bins": num_bins, "margin": 0.1}, dtype)


def inside(draw: Draw) -> Case:
    """Points inside of boxes that the bins reach."""
    return _with_boxes(draw, lambda: draw.integer(1, 28) / 4)


def clamped(draw: Draw) -> Case:
    """Points outside of their boxes, on their sides, and boxes that the bins do not reach."""
    case = _with_boxes(draw, lambda: draw.choice((-0.5, 0.0, 2.0, 3.5, 4.0, 5.0)), num_bins=5)
    return case.with_options(margin=draw.choice((0.5, 0.0, 0.25, 0.1)))


def no_point(draw: Draw) -> Case:
    """No point."""
    shape = draw.choice(((0,), (2, 0)))
    arguments = {"points": np.zeros((*shape, 2)), "boxes": np.zeros((*shape, 4)), "strides": np.ones(shape)}
    return Case(arguments, {"num_bins": _BINS, "margin": 0.1}, draw.dtype())


def photograph(seed: int) -> Case:
    """The points and distances of a real detector on a photograph."""
    image = dense_image(seed)
    distances = round_to("float32", oracle.distribution_expectation(image.distance_logits))
    random = np.random.default_rng(seed)
    strides = random.choice(_STRIDES, len(distances))
    points = random.integers(0, 320, (len(distances), 2)).astype(np.float64)
    return Case({"points": points, "distances": distances, "strides": strides}, {}, "float32",
                origin=f"photograph {seed % 3}")  # fmt: skip


def photograph_boxes(seed: int) -> Case:
    """The boxes of a real detector on a photograph."""
    arguments = photograph(seed).arguments
    boxes = round_to("float32", oracle.boxes_from_distances(**arguments))
    arguments = {"points": arguments["points"], "boxes": boxes, "strides": arguments["strides"]}
    return Case(arguments, {"num_bins": 8, "margin": 0.1}, "float32", origin=f"photograph {seed % 3}")


def distances(draw: Draw) -> Case:
    """Distances of every kind, some of them negative."""
    shape, points, strides = _points(draw)
    away = draw.array((*shape, 4), lambda: draw.choice((0.0, -0.5)) if draw.flag(20) else draw.integer(1, 60) / 8)
    dtype = draw.dtype()
    arguments = {"points": points, "distances": round_to(dtype, away), "strides": strides}
    return Case(arguments, {}, dtype, draw.cotangent(away.shape, dtype))


def no_distance(draw: Draw) -> Case:
    """No point."""
    shape = draw.choice(((0,), (2, 0)))
    arguments = {"points": np.zeros((*shape, 2)), "distances": np.zeros((*shape, 4)), "strides": np.ones(shape)}
    return Case(arguments, {}, draw.dtype())


# --- bounds and laws ------------------------------------------------------------------------------------------


def _twice(points: Array) -> Array:
    return np.concatenate([points, points], axis=-1)


def summands_of_distances(case: Case) -> tuple[int, Array]:
    """Point and side of the box, which cancel."""
    points, boxes, strides = (np.abs(case.arguments[name]) for name in ("points", "boxes", "strides"))
    return 2, (_twice(points) + boxes) / strides[..., None]


def summands_of_boxes(case: Case) -> tuple[int, Array]:
    """Point and distance."""
    points, away, strides = (np.abs(case.arguments[name]) for name in ("points", "distances", "strides"))
    return 2, _twice(points) + away * strides[..., None]


def _moved(case: Case) -> Case:
    """Everything moved by 16 pixels."""
    names = [name for name in ("points", "boxes") if name in case.arguments]
    return case.with_arguments(**{name: round_to(case.dtype, case.arguments[name] + 16.0) for name in names})


def _doubled(case: Case) -> Case:
    """A picture of twice the size."""
    return case.with_arguments(**{name: 2.0 * values for name, values in case.arguments.items()})


def boxes_come_back(bench: Bench, case: Case) -> None:
    """Where nothing is clamped, the distances decode to the boxes."""
    free = case.with_options(margin=None)
    answer = bench.evaluate(free)
    dtype = float_format(answer.dtypes[0], free)
    points, boxes, strides = (free.arguments[name] for name in ("points", "boxes", "strides"))
    expected = (boxes - _twice(points)) * _SIDES / strides[..., None]
    bench.expect_close(free, answer.outputs[0], expected, bench.bounds(free, dtype), dtype, "distances of the boxes")


# --- mutants --------------------------------------------------------------------------------------------------

_DISTANCES: Callable[..., Any] = oracle.distances_from_boxes
_BOXES: Callable[..., Any] = oracle.boxes_from_distances
_GRADIENT: Callable[..., Any] = oracle.boxes_from_distances_grad


def _with(function: Callable[..., Any], **changed: Callable[[Any], Any]) -> Callable[..., Any]:
    """The right function of changed arguments."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return function(**{**keywords, **{name: change(keywords[name]) for name, change in changed.items()}})

    return mutant


def _after(function: Callable[..., Any], change: Callable[[Array], Array]) -> Callable[..., Any]:
    """The right answer, changed."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return change(np.asarray(function(**keywords)))

    return mutant


def clamped_above_only(**keywords: Any) -> Array:  # noqa: ANN401
    right, free = _DISTANCES(**keywords), _DISTANCES(**{**keywords, "margin": None})
    return np.where((free < 0) & (keywords["margin"] is not None), free, right)


def clamped_below_only(**keywords: Any) -> Array:  # noqa: ANN401
    _DISTANCES(**keywords)
    free = _DISTANCES(**{**keywords, "margin": None})
    return free if keywords["margin"] is None else np.maximum(free, 0.0)


def in_half(function: Callable[..., Any], first: str) -> Callable[..., Any]:
    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        right = function(**keywords)
        return right + 1.0 if np.asarray(keywords[first]).dtype == np.float16 else right

    return mutant


def _one_pixel_more(boxes: Array) -> Array:
    return np.asarray(boxes) + np.array([0.0, 0.0, 1.0, 1.0])


def _ones(strides: Array) -> Array:
    return np.ones(np.shape(strides))


def _rows_first(sides: Array) -> Array:
    return np.asarray(sides)[..., [1, 0, 3, 2]]


def _one_point_for_all(function: Callable[..., Any], sides: str) -> Callable[..., Any]:
    """As arrays of one row are combined with longer ones; any other number of points is refused."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        if np.size(keywords["strides"]) != 1:
            return function(**keywords)
        shape = np.shape(keywords[sides])[:-1]
        points = np.broadcast_to(keywords["points"], (*shape, 2))
        return function(**{**keywords, "points": points, "strides": np.broadcast_to(keywords["strides"], shape)})

    return mutant


_HALF = "its arithmetic in float16"
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"

DISTANCES_FROM_BOXES = Technique(
    id="distances_from_boxes",
    title="Distances from a point to the sides of its box",
    family="soft_sampling",
    summary="Training targets of box sides, in strides, clamped to what the bins reach.",
    sources=(GFL_PAPER, "the authors' code and mmdet, bbox2distance"),
    oracle=oracle.distances_from_boxes,
    arguments=(
        Argument("points", ("...", "2"), "float", "x and y in pixels"),
        Argument("boxes", ("...", "4"), "float", "x1, y1, x2, y2 in pixels"),
        Argument("strides", ("...",), "float", "pixels between neighbouring points, > 0"),
    ),
    options=(
        Option("num_bins", _BINS, "number of bins, n + 1"),
        Option("margin", 0.1, "what is kept free below the last bin; None: no clamp at either end"),
    ),
    outputs=(Output("distances", ("...", "4"), "float", "left, top, right, bottom, in strides"),),
    summands=summands_of_distances,
    requirements=(
        Requirement("DFB-1", Level.MUST, Kind.VALUE,
                    "Left, top, right and bottom are the distances of point and side over the stride.",
                    "section on distribution focal loss", value, inside, scenes=(photograph_boxes,), dtypes=FULL),
        Requirement("DFB-2", Level.MUST, Kind.TIES, "Distances are clamped to [0, n - margin].", "the authors' code",
                    value, clamped, dtypes=FULL,
                    reaches={"a point on a side": lambda c: bool(
                        (_twice(c.arguments["points"]) == c.arguments["boxes"]).any())}),
        Requirement("DFB-3", Level.MUST, Kind.REDUCES_TO, "Without a margin nothing is clamped.", "ruling no-margin",
                    boxes_come_back, clamped, options=("margin",), dtypes=FULL, examples=0.5),
        Requirement("DFB-4", Level.MUST, Kind.INVARIANCE, "Moving everything changes nothing.", "geometry",
                    same_as(_moved, "distances of the moved picture"), inside, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("DFB-1")),
        Requirement("DFB-5", Level.MUST, Kind.INVARIANCE, "A picture of twice the size has the same distances.",
                    "geometry", same_as(_doubled, "distances of the doubled picture"), inside, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED.format("DFB-1")),
        Requirement("DFB-6", Level.SHOULD, Kind.EXTREME, "Half-precision boxes give the distances of float32.",
                    "house rule", value, inside, dtypes=HALF, examples=0.5),
        Requirement("DFB-7", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.", "house rule",
                    batch_equals_per_image, inside, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("DFB-1")),
        Requirement("DFB-8", Level.MUST, Kind.INVARIANCE, "Reordering the points reorders the distances.",
                    "house rule", permutation, inside, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("DFB-1")),
        Requirement("DFB-9", Level.MUST, Kind.EMPTY, "No points give no distances.", "house rule", value, no_point,
                    dtypes=FULL, examples=0.2),
        Requirement("DFB-10", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, inside,
                    dtypes=FULL, examples=0.3),
        Requirement("DFB-11", Level.SHOULD, Kind.ERROR, "Boxes that do not fit the points are refused.", "house rule",
                    refuses(bad_shape("boxes"), without_axes("boxes")), inside, dtypes=FULL, examples=0.2),
        Requirement("DFB-12", Level.MAY, Kind.ERROR, "A single bin and a margin outside [0, n] are refused.",
                    "house rule",
                    refuses(bad_option("num_bins", 1), bad_option("margin", -0.5), bad_option("margin", 100.0)),
                    inside, dtypes=FULL, examples=0.2),
    ),
    mutants=(
        Mutant("distances/no-stride", "pixels in place of strides", _with(_DISTANCES, strides=_ones)),
        Mutant("distances/rows-first", "top, left, bottom, right", _after(_DISTANCES, _rows_first)),
        Mutant("distances/one-pixel-more", "boxes that end one pixel later", _with(_DISTANCES, boxes=_one_pixel_more)),
        Mutant("distances/no-lower-clamp", "negative distances of points outside their box", clamped_above_only),
        Mutant("distances/no-upper-clamp", "distances beyond the bins", clamped_below_only),
        Mutant("distances/fixed-margin", "a margin of 0.1 whatever is asked for",
               _with(_DISTANCES, margin=lambda margin: 0.1 if margin is not None else None)),
        Mutant("distances/always-clamped", "a clamp also where it is switched off",
               _with(_DISTANCES, margin=lambda margin: 0.0 if margin is None else margin)),
        Mutant("distances/half-arithmetic", _HALF, in_half(_DISTANCES, "boxes")),
        Mutant("distances/lost-tail", "the last points of a large input left out", losing_the_tail(_DISTANCES)),
        Mutant("distances/in-place", "its boxes overwritten", overwriting(_DISTANCES, "boxes")),
        Mutant("distances/unchecked", "no check of the options",
               unchecked(_DISTANCES, num_bins=lambda bins: max(bins, 2),
                         margin=lambda margin: None if margin is None else min(max(margin, 0.0), 1.0))),
        Mutant("distances/broadcast", "points broadcast to boxes of another shape",
               broadcasting(broadcasting(_DISTANCES, "points", "boxes"), "strides", "boxes")),
        Mutant("distances/one-point-for-all", "a single point broadcast to all boxes",
               _one_point_for_all(_DISTANCES, "boxes"), seen_in="mmdet 3.3.0"),
        Mutant("distances/raises-on-empty", "an error on empty input", failing_on_empty(_DISTANCES, "boxes")),
    ),
    rulings=(
        Ruling("clamp", "A point outside of its box, and a box larger than the bins reach, have the targets of another "
               "box."),
        Ruling("no-margin", "A margin of None does not clamp at all; a margin of 0 clamps to [0, n]."),
    ),
    not_applicable={
        Kind.GRADIENT: "targets are constants", Kind.DETACHED: "targets are constants",
        Kind.LIMIT: "linear between its clamps", Kind.CONSERVATION: "conserves nothing",
        Kind.BOUND: "DFB-2", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

BOXES_FROM_DISTANCES = Technique(
    id="boxes_from_distances",
    title="Box of the distances from a point to its sides",
    family="soft_sampling",
    summary="The box that four distances in strides stand for.",
    sources=(GFL_PAPER, "FCOS's parametrisation; mmdet, distance2bbox"),
    oracle=oracle.boxes_from_distances,
    gradients={"distances": oracle.boxes_from_distances_grad},
    arguments=(
        Argument("points", ("...", "2"), "float", "x and y in pixels"),
        Argument("distances", ("...", "4"), "float", "left, top, right, bottom, in strides", differentiable=True),
        Argument("strides", ("...",), "float", "pixels between neighbouring points, > 0"),
    ),
    options=(),
    outputs=(Output("boxes", ("...", "4"), "float", "x1, y1, x2, y2 in pixels, not clipped to an image"),),
    summands=summands_of_boxes,
    requirements=(
        Requirement("BFD-1", Level.MUST, Kind.VALUE, "The sides lie at the distances times the stride from the point.",
                    "section on distribution focal loss", value, distances, scenes=(photograph,), dtypes=FULL,
                    reaches={"a side beyond the picture": lambda c: bool(
                        (oracle.boxes_from_distances(**c.arguments) < 0).any())}),
        Requirement("BFD-2", Level.MUST, Kind.GRADIENT, "The gradient is minus the stride for left and top, else plus.",
                    "geometry", gradient("distances"), distances, needs_gradient=True, dtypes=FULL),
        Requirement("BFD-3", Level.MUST, Kind.INVARIANCE, "A picture of twice the size has boxes of twice the size.",
                    "geometry", same_as(lambda c: c.with_arguments(
                        points=2.0 * c.arguments["points"], strides=2.0 * c.arguments["strides"]),
                        "boxes of the doubled picture, halved", lambda output, _: np.asarray(output / 2.0)),
                    distances, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("BFD-1")),
        Requirement("BFD-4", Level.SHOULD, Kind.EXTREME, "Half-precision distances give the boxes of float32.",
                    "house rule", value, distances, dtypes=HALF, examples=0.5),
        Requirement("BFD-5", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.", "house rule",
                    batch_equals_per_image, distances, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("BFD-1")),
        Requirement("BFD-6", Level.MUST, Kind.INVARIANCE, "Reordering the points reorders the boxes.", "house rule",
                    permutation, distances, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("BFD-1")),
        Requirement("BFD-7", Level.MUST, Kind.EMPTY, "No points give no boxes.", "house rule", value, no_distance,
                    dtypes=FULL, examples=0.2),
        Requirement("BFD-8", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    distances, dtypes=FULL, examples=0.3),
        Requirement("BFD-9", Level.SHOULD, Kind.ERROR, "Distances that do not fit the points are refused.",
                    "house rule", refuses(bad_shape("distances")), distances, dtypes=FULL, examples=0.2),
    ),
    mutants=(
        Mutant("boxes/no-stride", "pixels in place of strides", _with(_BOXES, strides=_ones),
               _with(_GRADIENT, strides=_ones)),
        Mutant("boxes/rows-first", "y1, x1, y2, x2", _after(_BOXES, _rows_first), _after(_GRADIENT, _rows_first)),
        Mutant("boxes/clipped", "sides cut off at 0", _after(_BOXES, lambda boxes: np.maximum(boxes, 0.0)), _GRADIENT),
        Mutant("boxes/absolute-gradient", "a gradient that is positive for all sides", _BOXES,
               _after(_GRADIENT, np.abs)),
        Mutant("boxes/half-arithmetic", _HALF, in_half(_BOXES, "distances")),
        Mutant("boxes/lost-tail", "the last points of a large input left out", losing_the_tail(_BOXES)),
        Mutant("boxes/in-place", "its distances overwritten", overwriting(_BOXES, "distances")),
        Mutant("boxes/broadcast", "points broadcast to distances of another shape",
               broadcasting(broadcasting(_BOXES, "points", "distances"), "strides", "distances")),
        Mutant("boxes/one-point-for-all", "a single point broadcast to all distances",
               _one_point_for_all(_BOXES, "distances"), seen_in="mmdet 3.3.0"),
        Mutant("boxes/raises-on-empty", "an error on empty input", failing_on_empty(_BOXES, "distances")),
    ),
    rulings=(Ruling("not-clipped", "Boxes are not clipped to an image."),),
    not_applicable={
        Kind.DETACHED: "nothing is detached", Kind.REDUCES_TO: "DFB-3 says that it undoes distances_from_boxes",
        Kind.LIMIT: "linear", Kind.CONSERVATION: "conserves nothing", Kind.BOUND: "unbounded",
        Kind.TIES: "no threshold", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
