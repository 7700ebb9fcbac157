"""Contracts of greedy non-maximum suppression and of the best of each level.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.3; Felzenszwalb et al., PAMI 2010, section 7.2.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    leaving_out,
    padding,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection import non_maximum_suppression_mutants as wrong
from steelyard.conformance.detection.scored_boxes import (
    SIDE,
    THRESHOLDS,
    distinct_scores,
    few_scores,
    halves_and_quarters,
    magnified,
    on_the_grid,
    places,
    real_proposals,
    reordered,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import non_maximum_suppression as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou

_FASTER_RCNN = 'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.3'
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_SHARED_RULINGS = (
    Ruling("ties", "Of equal scores the lower index goes first."),
    Ruling("mask", "What the mask leaves out is not kept, and suppresses nothing."),
)
_CHOICE = {
    Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
    Kind.REDUCES_TO: "no simpler technique", Kind.CONSERVATION: "conserves nothing", Kind.BATCH: "one image",
    Kind.DISTRIBUTION: "not random",
}  # fmt: skip

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, boxes: Array, scores: Array, threshold: float, *, one_group: bool = False) -> Case:
    number = len(boxes)
    groups = np.zeros(number, dtype=np.int64) if one_group else draw.integers((number,), 0, 1)
    mask = np.array([not draw.flag(15) for _ in range(number)], dtype=bool)
    arguments = {"boxes": boxes, "scores": scores, "groups": groups, "mask": mask}
    return Case(arguments, {"iou_threshold": threshold}, draw.dtype())


def clusters(draw: Draw) -> Case:
    """Up to twelve boxes in clusters, in two groups, with distinct scores."""
    number = draw.integer(1, 12)
    return _case(draw, places(draw, number), distinct_scores(draw, number), draw.choice(THRESHOLDS),
                 one_group=draw.flag())  # fmt: skip


def at_the_threshold(draw: Draw) -> Case:
    """IoUs of exactly 1, 1/2, 1/4 and 0, and a threshold among them."""
    number = draw.integer(2, 6)
    return _case(draw, halves_and_quarters(draw, number), distinct_scores(draw, number),
                 draw.choice((0.5, 0.25, 1.0, 0.0)), one_group=True)  # fmt: skip


def equal_scores(draw: Draw) -> Case:
    """Few different scores."""
    number = draw.integer(2, 10)
    return _case(draw, places(draw, number), few_scores(draw, number), draw.choice(THRESHOLDS), one_group=True)


def degenerate(draw: Draw) -> Case:
    """Points and lines among the boxes, each of them twice."""
    case = clusters(draw)
    boxes = case.arguments["boxes"].copy()
    boxes[::2, 2:] = boxes[::2, :2] + (0.0, draw.choice((0.0, SIDE)))
    return case.with_arguments(boxes=boxes)


def no_box(draw: Draw) -> Case:
    """Nothing to suppress, or nothing that takes part."""
    number = draw.choice((0, 3))
    case = _case(draw, places(draw, number), distinct_scores(draw, number), 0.7)
    return case.with_arguments(mask=np.zeros(number, dtype=bool))


def proposals(seed: int) -> Case:
    """The 256 best boxes of a detector on a photograph, level by level."""
    found = real_proposals(seed)
    arguments = {"boxes": found.boxes, "scores": found.scores, "groups": found.levels.astype(np.int64),
                 "mask": np.ones(len(found.boxes), dtype=bool)}  # fmt: skip
    return Case(arguments, {"iou_threshold": 0.7}, "float32", origin=f"photograph {seed}")


def crowd(seed: int) -> Case:
    """2,200 boxes in forty places."""
    random = np.random.default_rng(seed)
    number = 2200
    place = random.integers(0, 40, number)
    x = 64.0 * (place % 8) + random.choice([0.0, 1.0, 2.0, 3.0, 4.0], number)
    y = 64.0 * (place // 8) + random.choice([0.0, 1.0, 2.0], number)
    arguments = {"boxes": np.stack([x, y, x + SIDE, y + SIDE], axis=-1),
                 "scores": random.permutation(number) / 4096.0, "groups": np.zeros(number, dtype=np.int64),
                 "mask": np.ones(number, dtype=bool)}  # fmt: skip
    return Case(arguments, {"iou_threshold": 0.7}, "float32", origin=f"scene {seed}")


def _spared(case: Case) -> bool:
    """A box is kept that a suppressed one of a better score overlaps."""
    kept = _NMS(**case.arguments, **case.options)  # type: ignore[arg-type]
    mask, groups = case.arguments["mask"], case.arguments["groups"]
    near = pairwise_iou(case.arguments["boxes"], case.arguments["boxes"]) > option(case, "iou_threshold")
    near &= (groups[:, None] == groups) & (case.arguments["scores"][:, None] > case.arguments["scores"])
    return bool((near[mask & ~kept][:, kept]).any())


_NMS, _TOP_K = oracle.greedy_non_maximum_suppression, oracle.top_k_by_level

# --- laws -----------------------------------------------------------------------------------------------------


def _in_reverse(output: Array, case: Case) -> Array:
    return output[::-1]


def survivors_are_apart(bench: Bench, case: Case) -> None:
    """No two kept boxes of a group overlap by more; each suppressed one overlaps a kept one of no lower score."""
    kept = np.asarray(bench.evaluate(case).outputs[0], dtype=bool)
    scores, groups, mask = (case.arguments[name] for name in ("scores", "groups", "mask"))
    near = pairwise_iou(case.arguments["boxes"], case.arguments["boxes"]) > option(case, "iou_threshold")
    near &= (groups[:, None] == groups) & ~np.eye(len(kept), dtype=bool)
    bench.expect(not near[kept][:, kept].any(), "two kept boxes overlap by more than the threshold", case)
    better = near & (scores <= scores[:, None])
    explained = better[kept].any(axis=0)
    bench.expect(bool(explained[mask & ~kept].all()), "a box suppressed by none that was kept", case)


def again(bench: Bench, case: Case) -> None:
    """What was kept is kept, all of it, when it is suppressed once more."""
    kept = np.asarray(bench.evaluate(case).outputs[0], dtype=bool)
    second = np.asarray(bench.evaluate(case.with_arguments(mask=kept)).outputs[0], dtype=bool)
    bench.expect(bool((second == kept).all()), "suppression of what was kept leaves less", case)


_BOXES = Argument("boxes", ("N", "4"), "float", "x1, y1, x2, y2 in pixels", domain=on_the_grid)
_SCORES = Argument("scores", ("N",), "float", "of each box", domain=on_the_grid)
_MASK = Argument("mask", ("N",), "bool", "boxes that take part")


def large(draw: Draw) -> Case:
    """Boxes of 512 pixels, whose areas float16 does not hold."""
    case = clusters(draw)
    return case.with_arguments(boxes=64.0 * case.arguments["boxes"])


GREEDY_NON_MAXIMUM_SUPPRESSION = Technique(
    id="greedy_non_maximum_suppression",
    title="Greedy non-maximum suppression",
    family="detection",
    summary="Boxes that remain when each kept one suppresses those of lower score that overlap it.",
    sources=(_FASTER_RCNN, "Felzenszwalb et al., PAMI 2010, section 7.2"),
    oracle=_NMS,
    arguments=(_BOXES, _SCORES, Argument("groups", ("N",), "int", "boxes of other groups are left alone"), _MASK),
    options=(Option("iou_threshold", 0.7, "IoU above which a box is suppressed"),),
    outputs=(Output("kept", ("N",), "bool", "which boxes remain"),),
    requirements=(
        Requirement("NMS-1", Level.MUST, Kind.VALUE, "By score, a box is kept unless a kept one of its group overlaps.",
                    _FASTER_RCNN, value, clusters, scenes=(proposals, crowd), dtypes=FULL,
                    reaches={"what a suppressed box would have suppressed": _spared}),
        Requirement("NMS-2", Level.MUST, Kind.TIES, "An IoU equal to the threshold does not suppress.",
                    "ruling threshold", value, at_the_threshold, dtypes=FULL),
        Requirement("NMS-3", Level.MUST, Kind.TIES, "Of equal scores the lower index goes first.", "ruling ties", value,
                    equal_scores, dtypes=FULL,
                    no_mutant="a photograph's scores are equal often enough for NMS-1 to see it too"),
        Requirement("NMS-4", Level.MUST, Kind.EMPTY, "Points and lines overlap nothing.", "ruling degenerate", value,
                    degenerate, dtypes=FULL, examples=0.5),
        Requirement("NMS-5", Level.MUST, Kind.EMPTY, "Without boxes nothing is kept.", "house rule", value, no_box,
                    dtypes=FULL, examples=0.1),
        Requirement("NMS-6", Level.SHOULD, Kind.EXTREME, "Half-precision boxes have IoUs in float32.", "house rule",
                    value, large, dtypes=HALF, examples=0.5),
        Requirement("NMS-7", Level.MUST, Kind.BOUND, "Kept boxes are apart, and explain every suppressed one.",
                    _FASTER_RCNN, survivors_are_apart, equal_scores, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("NMS")),
        Requirement("NMS-8", Level.MUST, Kind.LIMIT, "Suppressing once more changes nothing.", _FASTER_RCNN, again,
                    clusters, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("NMS")),
        Requirement("NMS-9", Level.MUST, Kind.INVARIANCE, "Reordering the boxes reorders the answer.", _FASTER_RCNN,
                    same_as(reordered, "boxes in reverse", _in_reverse), clusters, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("NMS")),
        Requirement("NMS-10", Level.MUST, Kind.INVARIANCE, "The size of the picture means nothing.", _FASTER_RCNN,
                    same_as(magnified, "boxes four times as large"), clusters, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("NMS")),
        Requirement("NMS-11", Level.MUST, Kind.INVARIANCE, "Padding outside the mask changes nothing.", "ruling mask",
                    padding(0, boxes=2.0, scores=9.0, groups=0, mask=0), clusters, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("NMS")),
        Requirement("NMS-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, clusters, dtypes=FULL, examples=0.3),
        Requirement("NMS-13", Level.SHOULD, Kind.ERROR, "Scores of another number than the boxes' are refused.",
                    "house rule", refuses(bad_shape("scores")), clusters, dtypes=FULL, examples=0.1),
        Requirement("NMS-14", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("iou_threshold", 1.5)), clusters, dtypes=FULL, examples=0.1),
        Requirement("NMS-15", Level.SHOULD, Kind.EMPTY, "Without groups there is one, without a mask all take part.",
                    "house rule", leaving_out("groups", "mask"), clusters, dtypes=FULL, examples=0.2),
    ),
    mutants=wrong.NMS_MUTANTS,
    rulings=(
        Ruling("threshold", "Suppression needs an IoU strictly above the threshold."),
        Ruling("degenerate", "A box without an area has IoU 0 with all, also with its equal."),
        *_SHARED_RULINGS,
    ),
    not_applicable=_CHOICE,
)  # fmt: skip

# --- the best of each level -----------------------------------------------------------------------------------


def by_level(draw: Draw) -> Case:
    """Up to twelve candidates on three levels, with distinct scores."""
    number = draw.integer(1, 12)
    arguments = {"scores": distinct_scores(draw, number) - 0.25, "levels": draw.integers((number,), 0, 2),
                 "mask": np.array([not draw.flag(15) for _ in range(number)], dtype=bool)}  # fmt: skip
    return Case(arguments, {"top_k": draw.choice((2, 1, 3, 5)), "num_levels": 3}, draw.dtype())


def few_scores_by_level(draw: Draw) -> Case:
    """Few different scores."""
    case = by_level(draw)
    return case.with_arguments(scores=few_scores(draw, len(case.arguments["scores"])))


def all_of_each(draw: Draw) -> Case:
    """No limit, or one that no level reaches."""
    return by_level(draw).with_options(top_k=draw.choice((None, 90)))


def no_candidate(draw: Draw) -> Case:
    """No candidate, or none that takes part."""
    number = draw.choice((0, 3))
    arguments = {"scores": np.zeros(number), "levels": np.zeros(number, dtype=np.int64),
                 "mask": np.zeros(number, dtype=bool)}  # fmt: skip
    return Case(arguments, {"top_k": 2, "num_levels": 3}, draw.dtype())


def levels_of_a_photograph(seed: int) -> Case:
    """The best 20 of each level of a detector's 256: float16 logits, of which several are equal."""
    found = real_proposals(seed)
    arguments = {"scores": found.scores, "levels": found.levels.astype(np.int64),
                 "mask": np.ones(len(found.boxes), dtype=bool)}  # fmt: skip
    return Case(arguments, {"top_k": 20, "num_levels": 3}, "float32", origin=f"photograph {seed}")


def _tie_at_the_end(case: Case) -> bool:
    """A score that is kept is left out as well, on the same level."""
    kept = _TOP_K(**case.arguments, **case.options)  # type: ignore[arg-type]
    lost = case.arguments["mask"] & ~kept
    pairs = np.stack([case.arguments["scores"], case.arguments["levels"]], axis=1)
    return bool((pairs[kept][:, None] == pairs[lost]).all(axis=-1).any())


def _numbers(bench: Bench, case: Case) -> None:
    """min(k, candidates) of each level."""
    kept = np.asarray(bench.evaluate(case).outputs[0], dtype=bool)
    levels, mask = case.arguments["levels"], case.arguments["mask"]
    found = np.bincount(levels[kept], minlength=3).tolist()
    wanted = np.minimum(np.bincount(levels[mask], minlength=3), int(option(case, "top_k"))).tolist()
    bench.expect(found == wanted, f"{found} candidates of the levels, expected {wanted}", case)


TOP_K_BY_LEVEL = Technique(
    id="top_k_by_level",
    title="Best scores of each level",
    family="detection",
    summary="Candidates that have one of the k best scores of their pyramid level.",
    sources=(_FASTER_RCNN, 'Lin et al., "Feature Pyramid Networks", CVPR 2017'),
    oracle=_TOP_K,
    arguments=(_SCORES, Argument("levels", ("N",), "int", "pyramid level of each candidate"), _MASK),
    options=(Option("top_k", None, "k; None keeps all"), Option("num_levels", 1, "L")),
    outputs=(Output("kept", ("N",), "bool", "which candidates remain"),),
    requirements=(
        Requirement("TKL-1", Level.MUST, Kind.VALUE, "On each level the k best scores remain.", _FASTER_RCNN, value,
                    by_level, scenes=(levels_of_a_photograph,), dtypes=FULL,
                    no_mutant="TKL-7 has the same inputs in half precision"),
        Requirement("TKL-2", Level.MUST, Kind.TIES, "Of equal scores the lower index remains.", "ruling ties", value,
                    few_scores_by_level, dtypes=FULL, reaches={"a tie at the end": _tie_at_the_end}),
        Requirement("TKL-3", Level.MUST, Kind.LIMIT, "None, or a k that no level reaches, keeps all.", "house rule",
                    value, all_of_each, dtypes=FULL, examples=0.3),
        Requirement("TKL-4", Level.MUST, Kind.EMPTY, "Without candidates nothing is kept.", "house rule", value,
                    no_candidate, dtypes=FULL, examples=0.1),
        Requirement("TKL-5", Level.MUST, Kind.BOUND, "min(k, candidates) of each level remain.", _FASTER_RCNN, _numbers,
                    few_scores_by_level, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("TKL")),
        Requirement("TKL-6", Level.MUST, Kind.INVARIANCE, "Padding outside the mask changes nothing.", "ruling mask",
                    padding(0, scores=9.0, levels=0, mask=0), by_level, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("TKL")),
        Requirement("TKL-7", Level.SHOULD, Kind.EXTREME, "Half-precision scores have the same order.", "house rule",
                    value, by_level, dtypes=HALF, examples=0.3, no_mutant="nothing is computed of scores"),
        Requirement("TKL-8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, by_level, dtypes=FULL, examples=0.3),
        Requirement("TKL-9", Level.SHOULD, Kind.ERROR, "Levels of another number than the scores' are refused.",
                    "house rule", refuses(bad_shape("levels")), by_level, dtypes=FULL, examples=0.1),
        Requirement("TKL-10", Level.MAY, Kind.ERROR, "k = 0 is refused.", "house rule", refuses(bad_option("top_k", 0)),
                    by_level, dtypes=FULL, examples=0.1),
        Requirement("TKL-11", Level.SHOULD, Kind.EMPTY, "Without levels there is one, without a mask all take part.",
                    "house rule", leaving_out("levels", "mask"), by_level, dtypes=FULL, examples=0.2),
    ),
    mutants=wrong.TOP_K_MUTANTS,
    rulings=_SHARED_RULINGS,
    not_applicable=_CHOICE,
)  # fmt: skip
