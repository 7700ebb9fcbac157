"""Contracts of bottom-up grouping: boxes from pairs of corners, and from quadruples of extreme points.

Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 4.2; Zhou et al., "ExtremeNet", CVPR 2019 (arXiv
1901.08043), section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, bad_shape, purity, refuses, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection import grouping_mutants as wrong
from steelyard.conformance.detection.scored_boxes import on_the_grid
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.reference.detection import grouping as oracle

_CORNERNET = 'Law and Deng, "CornerNet", ECCV 2018, arXiv 1808.01244, section 4.2'
_EXTREMENET = 'Zhou et al., "ExtremeNet", CVPR 2019, arXiv 1901.08043, section 4.1'
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_SIDE = 7
"""Cells of the small heat maps, each way."""

# --- corners: inputs ------------------------------------------------------------------------------------------


def _classes(draw: Draw, shape: tuple[int, ...]) -> Array:
    return draw.array(shape, lambda: float(draw.choice((0, 0, 0, 1, -1)))).astype(np.int64)


def _codes(draw: Draw, kinds: int, number: int) -> Array:
    """Scores of which no two sums of one a kind are equal: digits of base `number`, in any order; plus 1/4."""
    order = np.argsort(np.argsort(draw.array((kinds, number), draw.fraction), axis=1, kind="stable"), axis=1)
    return 0.25 + order * float(number) ** np.arange(kinds)[:, None] / 256.0


def _corner_case(draw: Draw, scores: Array, classes: Array) -> Case:
    number = scores.shape[1]
    start = draw.array((1, number, 2), lambda: float(draw.choice((0.0, 1.5, 3.0, 6.0))))
    end = draw.array((1, number, 2), lambda: float(draw.choice((9.0, 6.0, 4.5, 1.5))))
    tags = draw.array(scores.shape, lambda: draw.choice((1.0, 1.25, 0.5, 1.75, -1.0)))
    arguments = {"scores": scores, "classes": classes, "points": np.concatenate([start, end]), "tags": tags}
    options: dict[str, OptionValue] = {"maximum_tag_distance": draw.choice((0.5, 0.3, 1.0)),
                                       "top_k": draw.choice((6, 1, 3, 20))}  # fmt: skip
    return Case(arguments, options, draw.dtype())


def corners(draw: Draw) -> Case:
    """Up to four corners of each kind, of two classes; no two pairs have one score."""
    number = draw.integer(1, 4)
    return _corner_case(draw, _codes(draw, 2, number), _classes(draw, (2, number)))


def equal_pairs(draw: Draw) -> Case:
    """Few different scores, so that pairs have equal ones."""
    shape = (2, draw.integer(2, 4))
    return _corner_case(draw, draw.array(shape, lambda: draw.choice((0.5, 0.25, 0.75))), np.zeros(shape, dtype=int))


def tags_at_the_distance(draw: Draw) -> Case:
    """Tags exactly the maximum distance apart, on either side; or equal, where that is 0."""
    case = corners(draw)
    distance = draw.choice((0.5, 0.25, 0.0))
    tags = draw.array(case.arguments["tags"].shape, lambda: draw.choice((0.0, distance, -distance)))
    classes = np.zeros_like(case.arguments["classes"])
    return case.with_arguments(tags=tags, classes=classes).with_options(maximum_tag_distance=distance)


def no_corner(draw: Draw) -> Case:
    """No peak, or padding only."""
    number = draw.choice((0, 2))
    case = _corner_case(draw, np.full((2, number), 0.5), np.full((2, number), -1))
    return case.with_arguments(tags=np.zeros((2, number)))


def hundred_corners(seed: int) -> Case:
    """100 corners of each kind on a map of 128 x 128 cells, of five classes, as CornerNet takes them."""
    random = np.random.default_rng(seed)
    scores = random.permuted(np.stack([np.arange(100) / 128.0, np.arange(100) / 16384.0]), axis=1)
    arguments = {
        "scores": scores,
        "classes": random.integers(0, 5, (2, 100)),
        "points": random.integers(0, 256, (2, 100, 2)) / 2.0,
        "tags": random.integers(-8, 9, (2, 100)) / 4.0,
    }
    return Case(arguments, {"maximum_tag_distance": 0.5, "top_k": 100}, "float32", origin=f"scene {seed}")  # fmt: skip


def _accepts(function: Callable[..., oracle.Groups], number: int) -> Callable[[Case], bool]:
    return lambda case: int((function(**case.arguments, **case.options).classes >= 0).sum()) >= number


# --- laws -----------------------------------------------------------------------------------------------------


def groups_are_of_one_class(bench: Bench, case: Case) -> None:
    """Members are of the box's class, no group twice, scores fall, no side is negative, padding is last."""
    boxes, scores, classes, members = bench.evaluate(case).outputs
    number = int((classes >= 0).sum())
    bench.expect(bool((classes[:number] >= 0).all()), "padding before a group", case)
    bench.expect(len({tuple(row) for row in members[:number].tolist()}) == number, "a group twice", case)
    bench.expect(bool((np.diff(scores[:number]) <= 0).all()), "scores that rise", case)
    there = (members[:number] >= 0) & (members[:number] < case.arguments["scores"].shape[1])
    bench.expect(bool(there.all()), "a member that is not there", case)
    bench.expect(bool((boxes[:, 2:] >= boxes[:, :2]).all()), "a box with a negative side", case)
    for kind, row in enumerate(case.arguments["classes"]):
        of_members = row[members[:number, kind]]
        bench.expect(bool((of_members == classes[:number]).all()), f"a member of kind {kind} of another class", case)


def shifted_tags(bench: Bench, case: Case) -> None:
    """A constant added to all tags changes nothing."""
    shifted = case.with_arguments(tags=case.arguments["tags"] + 2.0)
    one, other = bench.evaluate(case), bench.evaluate(shifted)
    same = all(np.array_equal(a, b) for a, b in zip(one.outputs, other.outputs, strict=True))
    bench.expect(same, "other groups with all tags shifted by one number", case)


_OUTPUTS = (
    Output("boxes", ("D", "4"), "float", "best first, 0 for padding"),
    Output("scores", ("D",), "float", "0 for padding"),
    Output("classes", ("D",), "int", "-1 for padding"),
    Output("members", ("D", "G"), "int", "which peak of each kind, -1 for padding"),
)
_SCORES = Argument("scores", ("G", "K"), "float", "of the peaks of each kind", domain=on_the_grid)
_CLASSES = Argument("classes", ("G", "K"), "int", "of the peaks, -1 for padding")
_TOP_K = Option("top_k", 100, "D, groups of the image")
_NOT_APPLICABLE = {
    Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
    Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.CONSERVATION: "conserves nothing",
    Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
}  # fmt: skip


GROUP_CORNERS = Technique(
    id="group_corners",
    title="Grouping of corners (CornerNet)",
    family="detection",
    summary="Boxes from pairs of a top left and a bottom right corner of one class and like tags.",
    sources=(_CORNERNET,),
    oracle=oracle.group_corners,
    arguments=(
        _SCORES,
        _CLASSES,
        Argument("points", ("G", "K", "2"), "float", "x and y", domain=on_the_grid),
        Argument("tags", ("G", "K"), "float", "embeddings", domain=on_the_grid),
    ),
    options=(Option("maximum_tag_distance", 0.5, "largest distance of the tags of a pair"), _TOP_K),
    outputs=_OUTPUTS,
    requirements=(
        Requirement("GC-1", Level.MUST, Kind.VALUE, "All pairs of one class, like tags and no negative side, by score.",
                    _CORNERNET, value, corners, scenes=(hundred_corners,), dtypes=FULL, examples=0.6,
                    reaches={"two pairs": _accepts(oracle.group_corners, 2)}),
        Requirement("GC-2", Level.MUST, Kind.TIES, "Tags of exactly the largest distance are alike.", "ruling distance",
                    value, tags_at_the_distance, dtypes=FULL, examples=0.5,
                    no_mutant="GC-1 draws tags exactly that far apart too"),
        Requirement("GC-3", Level.SHOULD, Kind.TIES, "Pairs of equal scores in the order of their corners.",
                    "ruling ties", value, equal_pairs, dtypes=FULL, examples=0.5),
        Requirement("GC-4", Level.MUST, Kind.EMPTY, "Without corners all rows are padding.", "house rule", value,
                    no_corner, dtypes=FULL, examples=0.1),
        Requirement("GC-5", Level.SHOULD, Kind.EXTREME, "Half-precision corners have the same pairs.", "house rule",
                    value, corners, dtypes=HALF, examples=0.3, no_mutant=_IMPLIED.format("GC")),
        Requirement("GC-6", Level.MUST, Kind.BOUND, "Groups of one class, best first, without negative sides.",
                    _CORNERNET, groups_are_of_one_class, equal_pairs, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("GC")),
        Requirement("GC-7", Level.MUST, Kind.INVARIANCE, "A constant added to all tags changes nothing.", _CORNERNET,
                    shifted_tags, tags_at_the_distance, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("GC")),
        Requirement("GC-8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, corners, dtypes=FULL, examples=0.3),
        Requirement("GC-9", Level.SHOULD, Kind.ERROR, "Tags of another number than the corners are refused.",
                    "house rule", refuses(bad_shape("tags")), corners, dtypes=FULL, examples=0.1),
        Requirement("GC-10", Level.MAY, Kind.ERROR, "A negative distance is refused.", "house rule",
                    refuses(bad_option("maximum_tag_distance", -1.0)), corners, dtypes=FULL, examples=0.1),
    ),
    mutants=wrong.CORNER_MUTANTS,
    rulings=(
        Ruling("distance", "The largest distance itself is accepted, and so is a box without width or height."),
        Ruling("ties", "Equal scores in the order of the pairs, the top left corner first."),
    ),
    not_applicable=_NOT_APPLICABLE,
)  # fmt: skip

# --- extremes: inputs -----------------------------------------------------------------------------------------


def _extreme_points(draw: Draw, number: int) -> Array:
    """Tops above, lefts left, bottoms below, rights right of the middle, mostly."""
    low, middle, high = (0, 2, 0, 3), (3, 2, 4, 1, 5), (6, 4, 6, 3)
    ranges = ((middle, low), (low, middle), (middle, high), (high, middle))
    kinds = [[draw.array((number,), partial(_one_of, draw, values)) for values in xy] for xy in ranges]
    return np.stack(kinds).transpose(0, 2, 1).astype(np.int64)


def _one_of(draw: Draw, values: tuple[int, ...]) -> float:
    return float(draw.choice(values))


def _extreme_case(draw: Draw, scores: Array, heat: tuple[float, ...]) -> Case:
    number = scores.shape[1]
    arguments = {
        "scores": scores,
        "classes": draw.array((4, number), lambda: float(draw.choice((0, 0, 0, 0, 0, 0, 1, -1)))).astype(int),
        "points": _extreme_points(draw, number),
        "center_heat": draw.array((2, _SIDE, _SIDE), lambda: draw.choice(heat)),
    }  # fmt: skip
    options: dict[str, OptionValue] = {
        "peak_threshold": draw.choice((0.1, 0.252)), "center_threshold": draw.choice((0.1, 0.6)),
        "center_weight": draw.choice((2.0, 1.0, 0.0)), "top_k": draw.choice((5, 1, 100)),
    }  # fmt: skip
    return Case(arguments, options, draw.dtype())


def extremes(draw: Draw) -> Case:
    """Up to three points of each kind; the scores of no two quadruples are equal."""
    number = draw.integer(1, 3)
    return _extreme_case(draw, _codes(draw, 4, number), (0.5, 1.0, 0.0))


def equal_quadruples(draw: Draw) -> Case:
    """Few different scores, and points at all thresholds."""
    scores = draw.array((4, draw.integer(1, 3)), lambda: draw.choice((0.5, 0.25)))
    case = _extreme_case(draw, scores, (0.5, 0.25))
    return case.with_options(peak_threshold=draw.choice((0.25, 0.5)), center_threshold=draw.choice((0.25, 0.5)),
                             center_weight=draw.choice((0.0, 4.0)))  # fmt: skip


def on_one_line(draw: Draw) -> Case:
    """Points that share coordinates: boxes without width or height, and corners that are two extremes at once."""
    case = extremes(draw)
    points = draw.array(case.arguments["points"].shape, lambda: float(draw.choice((3, 3, 4)))).astype(np.int64)
    return case.with_arguments(points=points, classes=np.zeros_like(case.arguments["classes"]))


def no_extreme(draw: Draw) -> Case:
    """No point, or padding only."""
    number = draw.choice((0, 2))
    case = _extreme_case(draw, np.full((4, number), 0.5), (1.0,))
    return case.with_arguments(classes=np.full((4, number), -1))


def many_equal_quadruples(seed: int) -> Case:
    """Four points of each kind, all quadruples in order, of five scores: more than are sorted one by one."""
    random = np.random.default_rng(seed)
    points = np.full((4, 4, 2), 3)
    points[0, :, 1], points[1, :, 0] = random.integers(0, 3, (2, 4))
    points[2, :, 1], points[3, :, 0] = random.integers(4, _SIDE, (2, 4))
    arguments = {"scores": random.choice([0.5, 0.25], (4, 4)), "classes": np.zeros((4, 4), dtype=np.int64),
                 "points": points, "center_heat": np.full((1, _SIDE, _SIDE), 0.5)}  # fmt: skip
    options: dict[str, OptionValue] = {"peak_threshold": 0.1, "center_threshold": 0.1, "center_weight": 2.0,
                                       "top_k": 300}  # fmt: skip
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def seven_extremes(seed: int) -> Case:
    """Seven points of each kind, of two classes or padding, the two least of each kind weak: 2401 quadruples."""
    random = np.random.default_rng(seed)
    scores = random.permuted(0.5 + np.arange(-2, 5) * 7.0 ** np.arange(4)[:, None] / 2.0**13, axis=1)
    points = random.integers(16, 48, (4, 7, 2))
    points[0, :, 1], points[1, :, 0] = random.integers(0, 16, (2, 7))
    points[2, :, 1], points[3, :, 0] = random.integers(48, 64, (2, 7))
    arguments = {"scores": scores, "classes": random.choice([0, 0, 0, 1, -1, -1], (4, 7)), "points": points,
                 "center_heat": random.choice([0.0, 2.0], (2, 64, 64))}  # fmt: skip
    options: dict[str, OptionValue] = {"peak_threshold": 0.5, "center_threshold": 0.1, "center_weight": 2.0,
                                       "top_k": 100}  # fmt: skip
    return Case(arguments, options, "float32", origin=f"scene {seed}")


GROUP_EXTREMES = Technique(
    id="group_extremes",
    title="Grouping of extreme points (ExtremeNet)",
    family="detection",
    summary="Boxes from all quadruples of top, left, bottom and right points with something at their centre.",
    sources=(_EXTREMENET + ", algorithm 1",),
    oracle=oracle.group_extremes,
    arguments=(
        _SCORES,
        _CLASSES,
        Argument("points", ("G", "K", "2"), "int", "x and y, cells of the map"),
        Argument("center_heat", ("C", "H", "W"), "float", "heat of the centres", domain=on_the_grid),
    ),
    options=(
        Option("peak_threshold", 0.1, "lowest score of each point"),
        Option("center_threshold", 0.1, "lowest heat at the centre"),
        Option("center_weight", 2.0, "of the centre in the score: 2 in the authors' code, 1 in the paper"),
        _TOP_K,
    ),
    outputs=_OUTPUTS,
    requirements=(
        Requirement("GE-1", Level.MUST, Kind.VALUE, "All quadruples of one class in order with a centre, by score.",
                    _EXTREMENET, value, extremes, scenes=(seven_extremes,), dtypes=FULL, examples=0.6,
                    reaches={"two quadruples": _accepts(oracle.group_extremes, 2)}),
        Requirement("GE-2", Level.MUST, Kind.TIES, "Points may share a coordinate.", "ruling order", value, on_one_line,
                    dtypes=FULL, examples=0.5,
                    no_mutant="points share a coordinate in GE-1 too",
                    reaches={"a box without a side": _accepts(oracle.group_extremes, 1)}),
        Requirement("GE-3", Level.SHOULD, Kind.TIES,
                    "Thresholds that are reached are passed; equal scores in the order of the quadruples.",
                    "ruling thresholds", value, equal_quadruples, scenes=(many_equal_quadruples,), dtypes=FULL,
                    examples=0.5),
        Requirement("GE-4", Level.MUST, Kind.EMPTY, "Without points all rows are padding.", "house rule", value,
                    no_extreme, dtypes=FULL, examples=0.1),
        Requirement("GE-5", Level.SHOULD, Kind.EXTREME, "Half-precision points have the same quadruples.", "house rule",
                    value, extremes, dtypes=HALF, examples=0.3, no_mutant=_IMPLIED.format("GE")),
        Requirement("GE-6", Level.MUST, Kind.BOUND, "Groups of one class, best first, without negative sides.",
                    _EXTREMENET, groups_are_of_one_class, equal_quadruples, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("GE")),
        Requirement("GE-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, extremes, dtypes=FULL, examples=0.3),
        Requirement("GE-8", Level.SHOULD, Kind.ERROR, "Points of another number than the scores are refused.",
                    "house rule", refuses(bad_shape("points")), extremes, dtypes=FULL, examples=0.1),
        Requirement("GE-9", Level.MAY, Kind.ERROR, "A negative weight is refused.", "house rule",
                    refuses(bad_option("center_weight", -1.0)), extremes, dtypes=FULL, examples=0.1),
    ),
    mutants=wrong.EXTREME_MUTANTS,
    rulings=(
        Ruling("order", "No point lies above the top, left of the left, below the bottom or right of the right one; "
                        "they may share coordinates."),
        Ruling("thresholds", "A threshold that is reached is passed."),
        Ruling("centre", "The centre counts twice, as in the authors' code; 1 is the mean of the five."),
    ),
    not_applicable={**_NOT_APPLICABLE, Kind.INVARIANCE: "GE-6 says what each group is"},
)  # fmt: skip
