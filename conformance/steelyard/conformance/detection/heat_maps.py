"""Contracts of heat maps: their peaks, and the sums along an edge.

Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.3; Zhou et al., "ExtremeNet", CVPR 2019 (arXiv
1901.08043), sections 4.1 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, purity, refuses, same_as, value
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
    as_outputs,
)
from steelyard.conformance.detection.scored_boxes import on_the_grid
from steelyard.conformance.generation import Draw
from steelyard.conformance.real_data import points_of_image
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import heat_maps as oracle

_CORNERNET = 'Law and Deng, "CornerNet", ECCV 2018, arXiv 1808.01244, section 3.3'
_EXTREMENET = 'Zhou et al., "ExtremeNet", CVPR 2019, arXiv 1901.08043'
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
Function = Callable[..., Any]

# --- peaks: inputs --------------------------------------------------------------------------------------------


def _distinct(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Multiples of 1/64 in any order, no two equal."""
    order = np.argsort(np.argsort(draw.array(shape, draw.fraction).ravel(), kind="stable"), kind="stable")
    return (order.reshape(shape) + 1.0) / 64.0


def _peaks_case(draw: Draw, heat: Array) -> Case:
    options = {"kernel": draw.choice((3, 1, 5)), "top_k": draw.choice((4, 1, 2, 30))}
    return Case({"heat": heat}, options, draw.dtype())


def maps(draw: Draw) -> Case:
    """Up to two maps of up to 4 x 5 cells, all values different: probabilities or logits."""
    heat = _distinct(draw, (draw.integer(1, 2), draw.integer(1, 4), draw.integer(1, 5)))
    return _peaks_case(draw, heat - draw.choice((0.0, 0.0, 2.0)))


def plateaus(draw: Draw) -> Case:
    """Few different values, many of them 0."""
    shape = (draw.integer(1, 2), draw.integer(1, 4), draw.integer(1, 4))
    return _peaks_case(draw, draw.array(shape, lambda: draw.choice((0.0, 0.5, 0.25, 0.5))))


def constant(draw: Draw) -> Case:
    """One value everywhere: every cell is a peak; negative, so that padding with 0 would hide the border."""
    shape = (draw.integer(1, 2), draw.integer(1, 3), draw.integer(1, 3))
    return _peaks_case(draw, np.full(shape, draw.choice((0.5, -1.0, 0.0))))


def of_a_photograph(seed: int) -> Case:
    """The best score of each cell of a detector's finest level, 40 x 40: float16 logits, all negative but a few."""
    heat = points_of_image(seed).scores[:1600].reshape(1, 40, 40)
    return Case({"heat": heat}, {"kernel": 3, "top_k": 100}, "float32", origin=f"photograph {seed}")


def many_classes(seed: int) -> Case:
    """80 classes of 32 x 32 cells with probabilities of eight bits."""
    heat = np.random.default_rng(seed).integers(0, 256, (80, 32, 32)) / 256.0
    return Case({"heat": heat}, {"kernel": 3, "top_k": 100}, "float32", origin=f"scene {seed}")


# --- peaks: laws ----------------------------------------------------------------------------------------------


def _none_is_higher(bench: Bench, case: Case) -> None:
    """Each peak has its cell's value, none of its neighbours is higher, and peaks come best first."""
    scores, classes, points = bench.evaluate(case).outputs
    heat, reach = case.arguments["heat"], int(option(case, "kernel")) // 2
    found = [(c, *xy) for c, xy in zip(classes.tolist(), points.tolist(), strict=True) if c >= 0]
    sizes = heat.shape[0], heat.shape[2], heat.shape[1]
    there = all(0 <= i < size for cell in found for i, size in zip(cell, sizes, strict=True))
    bench.expect(there, "a class or a point that is not on the maps", case)
    for score, (c, x, y) in zip(scores.tolist(), found, strict=False):
        window = heat[c, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        bench.expect(score == heat[c, y, x], f"score {score} at class {c}, x {x}, y {y}, not its cell's", case)
        bench.expect(score >= window.max(), f"a neighbour of class {c}, x {x}, y {y} is higher", case)
    bench.expect(bool((np.diff(scores[: len(found)]) <= 0).all()), "scores that rise", case)


def _one_kernel_takes_all(bench: Bench, case: Case) -> None:
    """A kernel of 1 makes every cell a peak."""
    wide = case.with_options(kernel=1, top_k=90)
    found = int((np.asarray(bench.evaluate(wide).outputs[1]) >= 0).sum())
    wanted = min(case.arguments["heat"].size, 90)
    bench.expect(found == wanted, f"{found} peaks with a kernel of 1, expected {wanted}", wide)


# --- peaks: mutants -------------------------------------------------------------------------------------------

_PEAKS = oracle.heat_map_peaks


def _wrong_peaks(
    *,
    padding: float = -np.inf,
    is_peak: Callable[[Array, Array], Array] = lambda heat, highest: heat == highest,
    across_classes: bool = False,
    suppressed: bool = True,
    order: Callable[[Array], Array] = lambda scores: np.argsort(-scores, kind="stable"),
    points: Callable[[Array, Array], tuple[Array, Array]] = lambda x, y: (x, y),
    by_class: bool = False,
    zeros: bool = False,
) -> Function:
    """The peaks with one thing wrong."""

    def function(heat: Array, *, kernel: int, top_k: int) -> tuple[Array, ...]:
        _PEAKS(heat, kernel=kernel, top_k=top_k)
        values = np.asarray(heat, dtype=np.float64)
        reach = kernel // 2
        padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), constant_values=padding)
        _, height, width = values.shape
        windows = [padded[:, i : i + height, j : j + width] for i in range(kernel) for j in range(kernel)]
        highest = np.maximum.reduce(windows)
        if across_classes:
            highest = np.broadcast_to(highest.max(axis=0), highest.shape)
        chosen = is_peak(values, highest) if suppressed else np.ones(values.shape, dtype=bool)
        if zeros:  # suppressed cells stay in the race with value 0
            values = np.where(chosen, values, 0.0)
            chosen = np.ones(values.shape, dtype=bool)
        cells = np.flatnonzero(chosen)
        best = cells[order(values.ravel()[cells])]
        if by_class:
            best = best[np.argsort(np.unravel_index(best, values.shape)[0], kind="stable")]
        best = best[:top_k]
        c, y, x = np.unravel_index(best, values.shape)
        missing = (0, top_k - len(best))
        xy = np.stack(points(x, y), axis=1)
        return (np.pad(values[c, y, x], missing), np.pad(c, missing, constant_values=-1),
                np.pad(xy, (missing, (0, 0))))  # fmt: skip

    return function


def _raises_on_few(heat: Array, *, kernel: int, top_k: int) -> tuple[Array, ...]:
    if top_k > np.size(heat):
        raise IndexError("selected index k out of range")
    return as_outputs(_PEAKS(heat, kernel=kernel, top_k=top_k))


def _one_smaller(heat: Array, *, kernel: int, top_k: int) -> tuple[Array, ...]:
    return as_outputs(_PEAKS(heat, kernel=kernel - kernel % 2 + 1 if kernel % 2 == 0 else kernel, top_k=top_k))


def _class_zero_in_padding(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    scores, classes, points = _PEAKS(**keywords)
    return scores, np.maximum(classes, 0), points


_PEAK_MUTANTS = (
    Mutant("peaks/zero-padding", "a border of 0 around the map", _wrong_peaks(padding=0.0),
           seen_in="a max-pool that pads with 0, of logits"),
    Mutant("peaks/strict", "plateaus have no peak", _wrong_peaks(is_peak=lambda h, m: (h == m) & (h != h.min()))),
    Mutant("peaks/positive-only", "peaks above 0 only", _wrong_peaks(is_peak=lambda h, m: (h == m) & (h > 0))),
    Mutant("peaks/not-suppressed", "every cell a peak", _wrong_peaks(suppressed=False)),
    Mutant("peaks/suppressed-as-zero", "suppressed cells in the race with value 0", _wrong_peaks(zeros=True),
           seen_in="CornerNet: heat * keep, then topk"),
    Mutant("peaks/across-classes", "cells suppressed by other classes", _wrong_peaks(across_classes=True)),
    Mutant("peaks/last-of-equal", "of equal peaks the last one", _wrong_peaks(
        order=lambda s: np.lexsort((-np.arange(len(s)), -s))), seen_in="argsort()[::-1]"),
    Mutant("peaks/class-by-class", "all peaks of one class before the next", _wrong_peaks(by_class=True)),
    Mutant("peaks/rows-first", "y before x", _wrong_peaks(points=lambda x, y: (y, x))),
    Mutant("peaks/raises-on-few", "an error for a k beyond the number of cells", _raises_on_few, seen_in="torch.topk"),
    Mutant("peaks/class-zero-in-padding", "class 0 in rows of padding", _class_zero_in_padding),
    Mutant("peaks/even-kernel", "an even kernel made odd", _one_smaller),
    Mutant("peaks/in-place", "its heat overwritten", mistakes.overwriting(_PEAKS, "heat")),
)  # fmt: skip

HEAT_MAP_PEAKS = Technique(
    id="heat_map_peaks",
    title="Peaks of heat maps",
    family="detection",
    summary="The highest cells that no neighbour exceeds: candidates of a bottom-up detector.",
    sources=(_CORNERNET, _EXTREMENET + ", section 4.1"),
    oracle=_PEAKS,
    arguments=(Argument("heat", ("C", "H", "W"), "float", "probabilities or logits", domain=on_the_grid),),
    options=(Option("kernel", 3, "side of the window, odd"), Option("top_k", 100, "K, peaks of the image")),
    outputs=(
        Output("scores", ("K",), "float", "best first, 0 for padding"),
        Output("classes", ("K",), "int", "-1 for padding"),
        Output("points", ("K", "2"), "int", "x and y, 0 for padding"),
    ),
    requirements=(
        Requirement("PEAK-1", Level.MUST, Kind.VALUE, "The highest of the cells that no cell of their window exceeds.",
                    _CORNERNET, value, maps, scenes=(of_a_photograph, many_classes), dtypes=FULL,
                    no_mutant="what is wrong here is wrong on a plateau too",
                    reaches={"fewer peaks than rows": lambda c: bool((_PEAKS(
                        **c.arguments, **c.options).classes == -1).any())}),  # type: ignore[arg-type]
        Requirement("PEAK-2", Level.MUST, Kind.TIES,
                    "On a plateau every cell is a peak; equal peaks by class, row, column.", "ruling plateaus", value,
                    plateaus, dtypes=FULL, no_mutant="PEAK-1's scenes have equal values too"),
        Requirement("PEAK-3", Level.MUST, Kind.LIMIT, "A constant map is one plateau, whatever its height.",
                    "ruling plateaus", value, constant, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("PEAK")),
        Requirement("PEAK-4", Level.MUST, Kind.BOUND, "Peaks have their cell's value and no higher neighbour.",
                    _CORNERNET, _none_is_higher, plateaus, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("PEAK")),
        Requirement("PEAK-5", Level.MUST, Kind.REDUCES_TO, "With a kernel of 1 every cell is a peak.", "the definition",
                    _one_kernel_takes_all, maps, options=("kernel", "top_k"), dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("PEAK")),
        Requirement("PEAK-6", Level.SHOULD, Kind.EXTREME, "Half-precision heat has the same peaks.", "house rule",
                    value, plateaus, dtypes=HALF, examples=0.3, no_mutant="nothing is computed of heat"),
        Requirement("PEAK-7", Level.MUST, Kind.PURITY, "The heat is not written to, and equal calls agree.",
                    "house rule", purity, maps, dtypes=FULL, examples=0.3),
        Requirement("PEAK-8", Level.SHOULD, Kind.ERROR, "An even kernel is refused.", "house rule",
                    refuses(bad_option("kernel", 2)), maps, dtypes=FULL, examples=0.1),
    ),
    mutants=_PEAK_MUTANTS,
    rulings=(Ruling("plateaus", "On a plateau every cell is a peak, and equal peaks go by class, row, column."),),
    not_applicable={
        Kind.GRADIENT: "scores are the heat of their cells", Kind.DETACHED: "a choice has no gradient",
        Kind.INVARIANCE: "PEAK-4 says what each peak is", Kind.CONSERVATION: "conserves nothing",
        Kind.EMPTY: "a map has at least one cell, and that has a peak", Kind.BATCH: "one image",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

# --- edges ----------------------------------------------------------------------------------------------------


def ridges(draw: Draw) -> Case:
    """A map of up to 4 x 6 cells, values a quarter apart or equal, along either axis."""
    shape = (draw.integer(1, 4), draw.integer(1, 6))
    heat = draw.array(shape, lambda: draw.choice((0.25, 0.5, 0.5, 0.75, 0.0, -0.25)))
    return Case({"heat": heat}, {"axis": draw.choice((-1, -2)), "weight": draw.choice((0.1, 0.5, 1.0))}, draw.dtype())


def slopes(draw: Draw) -> Case:
    """Values that fall, or stay, along the whole row: the longest runs."""
    number = draw.integer(2, 9)
    heat = np.sort(draw.array((1, number), lambda: draw.choice((0.5, 0.25, 0.75, 1.0))))
    heat = heat[:, ::-1].copy() if draw.flag() else heat
    return Case({"heat": heat}, {"axis": -1, "weight": 0.1}, draw.dtype())


def no_cell(draw: Draw) -> Case:
    """A map of no rows or no columns."""
    return ridges(draw).with_arguments(heat=np.zeros(draw.choice(((0, 3), (2, 0)))))


def rows_of_a_photograph(seed: int) -> Case:
    """Probabilities of each cell of a detector's finest level, with the ties of float16."""
    scores = points_of_image(seed).scores[:1600].reshape(40, 40)
    heat = (1.0 / (1.0 + np.exp(-scores))).astype(np.float16).astype(np.float64)
    return Case({"heat": heat}, {"axis": -1, "weight": 0.1}, "float32", origin=f"photograph {seed}")


def _mirrored(case: Case) -> Case:
    return case.with_arguments(heat=case.arguments["heat"][::-1, ::-1].copy())


def _turned(case: Case) -> Case:
    other = {-1: -2, -2: -1}[int(option(case, "axis"))]
    return case.with_arguments(heat=case.arguments["heat"].T.copy()).with_options(axis=other)


def _itself(bench: Bench, case: Case) -> None:
    heat = case.arguments["heat"]
    found = bench.evaluate(case.with_options(weight=0.0)).outputs[0]
    bench.expect(np.array_equal(found, heat), "a weight of 0 changes the heat", case)


_EDGES = oracle.aggregate_edges


def _edge_terms(case: Case) -> tuple[int, Array]:
    """At most all values along the axis, each of them at its size."""
    size = np.abs(case.arguments["heat"])
    axis, weight = int(option(case, "axis")), option(case, "weight")
    return max(size.shape[axis], 1), size + weight * size.sum(axis=axis, keepdims=True)


def _wrong_edges(*, rises: Callable[[Array, Array], Array] = lambda nearer, further: further <= nearer,
                 both: bool = True, itself: bool = False, mean: bool = False, one_step: bool = False,
                 compared_to_start: bool = False) -> Function:  # fmt: skip
    """Sums along an edge with one thing wrong."""

    def function(heat: Array, *, axis: int, weight: float) -> Array:
        _EDGES(heat, axis=axis, weight=weight)
        along = np.moveaxis(np.asarray(heat, dtype=np.float64), axis, 0)
        total = np.zeros(along.shape)
        for place in np.ndindex(along.shape):
            for step in (-1, 1) if both else (-1,):
                values, i = [], place[0]
                while 0 <= i + step < len(along):
                    nearer = along[place] if compared_to_start else along[(i, *place[1:])]
                    if not rises(nearer, along[(i + step, *place[1:])]):
                        break
                    i += step
                    values.append(along[(i, *place[1:])])
                    if one_step:
                        break
                total[place] += np.mean(values) if mean and values else sum(values)
            total[place] += along[place] * itself
        return np.moveaxis(along + weight * total, 0, axis)

    return function


def _last_axis(heat: Array, *, axis: int, weight: float) -> Array:
    return _EDGES(heat, axis=-1 + 0 * axis, weight=weight)


def _absolute_weight(heat: Array, *, axis: int, weight: float) -> Array:
    return _EDGES(heat, axis=axis, weight=abs(weight))


def _ten_steps(heat: Array, *, axis: int, weight: float) -> Array:
    """Right for short rows only."""
    return _wrong_edges(one_step=np.shape(heat)[axis] > 10)(heat, axis=axis, weight=weight)


AGGREGATE_EDGES = Technique(
    id="aggregate_edges",
    title="Edge aggregation",
    family="detection",
    summary="The heat of an edge that lies along an axis, collected in its strongest cell.",
    sources=(_EXTREMENET + ", section 4.3",),
    oracle=_EDGES,
    arguments=(Argument("heat", ("H", "W"), "float", "one map", domain=on_the_grid),),
    options=(Option("axis", -1, "-1 along x, -2 along y"), Option("weight", 0.1, "lambda")),
    outputs=(Output("heat", ("H", "W"), "float", "with the sums added"),),
    summands=_edge_terms,
    requirements=(
        Requirement("EDGE-1", Level.MUST, Kind.VALUE, "Each value and lambda times the run that does not rise.",
                    "section 4.3", value, ridges, scenes=(rows_of_a_photograph,), dtypes=FULL),
        Requirement("EDGE-2", Level.MUST, Kind.TIES, "A value equal to the one before goes on with the run.",
                    "section 4.3", value, slopes, dtypes=FULL, examples=0.5, no_mutant=_IMPLIED.format("EDGE")),
        Requirement("EDGE-3", Level.MUST, Kind.LIMIT, "A weight of 0 is a weight, and changes nothing.", "section 4.3",
                    _itself, ridges, options=("weight",), dtypes=FULL, examples=0.2),
        Requirement("EDGE-4", Level.MUST, Kind.EMPTY, "Without cells there is nothing to add.", "house rule", value,
                    no_cell, dtypes=FULL, examples=0.1),
        Requirement("EDGE-5", Level.SHOULD, Kind.EXTREME, "Half-precision heat is summed in float32.", "house rule",
                    value, ridges, dtypes=HALF, examples=0.3, no_mutant=_IMPLIED.format("EDGE")),
        Requirement("EDGE-6", Level.MUST, Kind.INVARIANCE, "A mirrored map has the mirrored answer.", "section 4.3",
                    same_as(_mirrored, "the mirrored map", lambda output, _: output[::-1, ::-1]), ridges, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED.format("EDGE")),
        Requirement("EDGE-7", Level.MUST, Kind.INVARIANCE, "The two axes are alike.", "section 4.3",
                    same_as(_turned, "the turned map", lambda output, _: output.T), ridges, options=("axis",),
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("EDGE")),
        Requirement("EDGE-8", Level.MUST, Kind.PURITY, "The heat is not written to, and equal calls agree.",
                    "house rule", purity, ridges, dtypes=FULL, examples=0.3),
        Requirement("EDGE-9", Level.MAY, Kind.ERROR, "A negative weight is refused.", "house rule",
                    refuses(bad_option("weight", -0.5)), ridges, dtypes=FULL, examples=0.1),
    ),
    mutants=(
        Mutant("edges/strict", "a run ends at an equal value", _wrong_edges(rises=lambda near, far: far < near)),
        Mutant("edges/one-side", "one side alone", _wrong_edges(both=False)),
        Mutant("edges/itself", "the cell itself in the sum", _wrong_edges(itself=True)),
        Mutant("edges/mean", "the mean of the run", _wrong_edges(mean=True)),
        Mutant("edges/one-step", "the neighbours alone", _wrong_edges(one_step=True)),
        Mutant("edges/below-the-start", "a run of all that is not above its start", _wrong_edges(
            compared_to_start=True)),
        Mutant("edges/last-axis", "along x, whatever was asked for", _last_axis),
        Mutant("edges/long-rows", "the neighbours alone in rows of more than ten", _ten_steps),
        Mutant("edges/zero-is-default", "weight 0 taken as not given", mistakes.with_default_for_zero(
            _EDGES, "weight", 0.1)),
        Mutant("edges/in-place", "its heat overwritten", mistakes.overwriting(_EDGES, "heat")),
        Mutant("edges/raises-on-empty", "an error without cells", mistakes.failing_on_empty(_EDGES, "heat")),
        Mutant("edges/unchecked", "a negative weight taken for its size", _absolute_weight),
    ),
    rulings=(Ruling("itself", "The cell itself is not part of the sums."),),
    not_applicable={
        Kind.GRADIENT: "used on the answer of a trained network", Kind.DETACHED: "no gradient",
        Kind.REDUCES_TO: "EDGE-3 says what a weight of 0 is", Kind.CONSERVATION: "conserves nothing",
        Kind.BOUND: "of either sign", Kind.BATCH: "one map", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
