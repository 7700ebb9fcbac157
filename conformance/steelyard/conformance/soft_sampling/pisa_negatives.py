"""Contracts of PISA's negatives: NMS-match and score hierarchical local rank.

Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
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
    Mutant,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, option
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.soft_sampling import pisa_negatives as oracle

_PAPER = 'Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020, arXiv 1904.04821'
_SIDE = 8.0

# --- inputs ---------------------------------------------------------------------------------------------------


def _places(draw: Draw, number: int) -> Array:
    """Boxes 8 wide and high in two rows, whole numbers apart."""
    x = draw.array((number,), lambda: float(draw.choice((0, 1, 2, 3, 4, 6, 10, 16))))
    y = draw.array((number,), lambda: float(draw.choice((0, 0, 0, 32))))
    return np.stack([x, y, x + _SIDE, y + _SIDE], axis=-1)


def _scores(draw: Draw, number: int) -> Array:
    """Distinct odd multiples of 1/64."""
    order = np.argsort(np.argsort(draw.array((number,), draw.fraction), kind="stable"), kind="stable")
    return (2.0 * order + 1.0) / 64.0


def matched(draw: Draw) -> Case:
    """Up to twelve boxes in clusters. An IoU of (8 - d) / (8 + d) is 1/2 for no whole d."""
    number = draw.integer(1, 12)
    arguments = {"boxes": _places(draw, number), "scores": _scores(draw, number)}
    return Case(arguments, {"iou_threshold": draw.choice((0.5, 0.4, 0.7))}, draw.dtype())


def at_the_threshold(draw: Draw) -> Case:
    """Boxes of one width with heights in proportion of 2: IoUs of 1, 1/2 and 1/4, exact in every format."""
    number = draw.integer(2, 6)
    height = draw.array((number,), lambda: draw.choice((8.0, 4.0, 2.0)))
    x = draw.array((number,), lambda: draw.choice((0.0, 0.0, 16.0)))
    boxes = np.stack([x, np.zeros(number), x + 8.0, height], axis=-1)
    return Case({"boxes": boxes, "scores": _scores(draw, number)}, {"iou_threshold": draw.choice((0.5, 0.25, 1.0))},
                draw.dtype())  # fmt: skip


def equal_scores(draw: Draw) -> Case:
    """Few different scores."""
    case = matched(draw)
    return case.with_arguments(scores=np.floor(case.arguments["scores"] * 8.0) / 16.0)


def degenerate(draw: Draw) -> Case:
    """Boxes without an area among the others: their IoU is 0, with themselves too."""
    case = matched(draw)
    boxes = case.arguments["boxes"].copy()
    boxes[0, 2] = boxes[0, 0]
    return case.with_arguments(boxes=boxes)


def no_box(draw: Draw) -> Case:
    """Nothing to group."""
    return Case({"boxes": np.zeros((0, 4)), "scores": np.zeros(0)}, {"iou_threshold": 0.5}, draw.dtype())


def masked(draw: Draw) -> Case:
    """Some boxes left out, the best one too now and then."""
    case = matched(draw)
    mask = draw.array(case.arguments["scores"].shape, lambda: float(draw.flag(60))) == 1.0
    return case.with_arguments(mask=mask)


def crowd(seed: int) -> Case:
    """4,200 boxes in forty places, a step of the grid apart."""
    random = np.random.default_rng(seed)
    number = 4200
    place = random.integers(0, 40, number)
    x = 64.0 * (place % 8) + random.choice([0.0, 1.0, 2.0, 3.0, 4.0, 6.0], number)
    y = 64.0 * (place // 8)
    boxes = np.stack([x, y, x + _SIDE, y + _SIDE], axis=-1)
    scores = (random.permutation(number) + 1.0) / 2.0**13
    return Case({"boxes": boxes, "scores": scores}, {"iou_threshold": 0.5}, "float32", origin=f"scene {seed}")


def on_the_grid(moved: Array, case: Case) -> Array:
    return np.asarray(np.round(moved * 2.0**13) / 2.0**13)


def _chain(case: Case) -> bool:
    groups = oracle.nms_match(case.arguments["boxes"], case.arguments["scores"], **case.options)  # type: ignore[arg-type]
    joins = pairwise_iou(case.arguments["boxes"], case.arguments["boxes"]) >= option(case, "iou_threshold")
    return bool((joins & (groups[:, None] != groups)).any())


def _best_left_out(case: Case) -> bool:
    return not case.arguments["mask"][case.arguments["scores"].argmax()]


def grouped(draw: Draw) -> Case:
    """Scores of up to twelve negatives in up to four groups, some in none."""
    number = draw.integer(1, 12)
    groups = draw.array((number,), lambda: float(draw.choice((0, 0, 1, 1, 2, 3, -1)))).astype(np.int64)
    return Case({"scores": _scores(draw, number), "groups": groups}, {}, draw.dtype())


def grouped_equal_scores(draw: Draw) -> Case:
    """The same with few different scores."""
    case = grouped(draw)
    return case.with_arguments(scores=np.floor(case.arguments["scores"] * 8.0) / 8.0)


def grouped_nothing(draw: Draw) -> Case:
    """No negative, or none in a group."""
    case = grouped(draw)
    if draw.flag():
        return case.with_arguments(groups=np.full(case.arguments["groups"].shape, -1))
    return case.with_arguments(**{name: values[:0] for name, values in case.arguments.items()})


def grouped_crowd(seed: int) -> Case:
    """4,200 negatives in forty groups."""
    random = np.random.default_rng(seed)
    scores, groups = (random.permutation(4200) + 1.0) / 2.0**13, random.integers(-1, 40, 4200)
    groups[-1] = 0
    return Case({"scores": scores, "groups": groups}, {}, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def groups_have_leaders(bench: Bench, case: Case) -> None:
    """Numbers 0, 1, ... in the order of the best scores; every member overlaps the best one by the threshold."""
    groups = np.asarray(bench.evaluate(case).outputs[0])
    scores, boxes = case.arguments["scores"], case.arguments["boxes"]
    bench.expect(sorted(set(groups.tolist())) == list(range(int(groups.max(initial=-1)) + 1)), "a gap", case)
    best = [int(np.flatnonzero(groups == g)[np.argmax(scores[groups == g])]) for g in range(groups.max(initial=-1) + 1)]
    bench.expect(bool((np.diff(scores[best]) <= 0).all()), "a group opened out of the order of the scores", case)
    for number, leader in enumerate(best):
        overlaps = pairwise_iou(boxes[leader : leader + 1], boxes[groups == number])[0]
        bench.expect(bool((overlaps >= option(case, "iou_threshold") - 1e-9).all()), "a member too far away", case)


def reordered(case: Case) -> Case:
    """The samples in reverse."""
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def moved(case: Case) -> Case:
    """All boxes elsewhere, and twice as large."""
    return case.with_arguments(boxes=2.0 * case.arguments["boxes"] + 8.0)


def halved_scores(case: Case) -> Case:
    """Other scores of the same order."""
    return case.with_arguments(scores=case.arguments["scores"] / 2.0 + 0.25)


def _flip(output: Array, case: Case) -> Array:
    return output[::-1]


def renamed_groups(case: Case) -> Case:
    """Other numbers for the groups."""
    groups = case.arguments["groups"]
    return case.with_arguments(groups=np.where(groups >= 0, 7 - groups, -1))


def leaders_first(bench: Bench, case: Case) -> None:
    """Ranks 0..n - 1, the best of every group before all others."""
    rank, groups = np.asarray(bench.evaluate(case).outputs[0]), case.arguments["groups"]
    found = sorted(rank[groups >= 0].tolist())
    bench.expect(found == list(range(len(found))), f"ranks {found}", case)
    number = len(set(groups[groups >= 0].tolist()))
    first = groups[(rank >= 0) & (rank < number)].tolist()
    bench.expect(len(set(first)) == number, f"the first {number} are of {len(set(first))} groups", case)


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]
_MATCH, _RANK, _WEIGHTS = oracle.nms_match, oracle.score_hierarchical_local_rank, oracle.isr_n_weights


def _greedy(
    *,
    joins: Callable[[Array, float], Array] = lambda overlaps, threshold: overlaps >= threshold,
    order: Callable[[Array], Array] = lambda scores: np.argsort(-scores, kind="stable"),
    last: bool = False,
    chained: bool = False,
    self_joins: bool = True,
    by_index: bool = False,
) -> Function:
    """NMS-match with one thing wrong."""

    def function(*, boxes: Array, scores: Array, iou_threshold: float, mask: Array | None = None) -> Array:
        right = _MATCH(boxes, scores, iou_threshold=iou_threshold, mask=mask)
        takes_part = np.ones(right.shape, dtype=bool) if mask is None else mask
        boxes, scores = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        near = joins(pairwise_iou(boxes, boxes), iou_threshold)
        group = np.full(right.shape, -1)
        opened: list[int] = []
        for leader in order(scores).tolist():
            if not takes_part[leader] or (group[leader] != -1 and not (last and leader in opened)):
                continue
            members = near[leader] & takes_part & ((group == -1) | (last & (scores < scores[leader])))
            if last:
                members &= ~np.isin(np.arange(len(group)), opened)
            if self_joins:
                members[leader] = True
            if chained:
                while (near[members].any(axis=0) & takes_part & (group == -1) & ~members).any():
                    members |= near[members].any(axis=0) & takes_part & (group == -1)
            group[members] = leader if by_index else len(opened)
            opened.append(leader)
        return group

    return function


def _mask_ignored(*, boxes: Array, scores: Array, iou_threshold: float, mask: Array | None = None) -> Array:
    return _MATCH(boxes, scores, iou_threshold=iou_threshold)


def _mask_afterwards(*, boxes: Array, scores: Array, iou_threshold: float, mask: Array | None = None) -> Array:
    groups = _MATCH(boxes, scores, iou_threshold=iou_threshold)
    return groups if mask is None else np.where(mask, groups, -1)


def _masked_join(*, boxes: Array, scores: Array, iou_threshold: float, mask: Array | None = None) -> Array:
    groups = _MATCH(boxes, scores, iou_threshold=iou_threshold, mask=mask)
    for box in [] if mask is None else np.flatnonzero(~mask):
        overlaps = pairwise_iou(boxes[[box]], boxes)[0]
        near = np.flatnonzero((groups >= 0) & (overlaps >= iou_threshold))
        if near.size:
            groups[box] = groups[near].min()
    return groups


MATCH_MUTANTS = (
    Mutant("nms-match/above-threshold", "only an IoU above the threshold joins",
           _greedy(joins=lambda o, t: o > t), seen_in="ordinary non-maximum suppression"),
    Mutant("nms-match/chained", "boxes that overlap any member join, not the leader alone", _greedy(chained=True)),
    Mutant("nms-match/last-suppressor", "a box in the group of its last leader", _greedy(last=True)),
    Mutant("nms-match/input-order", "groups opened in the order of the boxes",
           _greedy(order=lambda s: np.arange(len(s)))),
    Mutant("nms-match/lowest-first", "the lowest score first", _greedy(order=lambda s: np.argsort(s, kind="stable"))),
    Mutant("nms-match/last-of-equal", "of equal scores the higher index first",
           _greedy(order=lambda s: np.lexsort((-np.arange(len(s)), -s)))),
    Mutant("nms-match/index-of-leader", "the index of the leader for the number of the group", _greedy(by_index=True)),
    Mutant("nms-match/degenerate-alone", "no group for a box without an area", _greedy(self_joins=False)),
    Mutant("nms-match/mask-ignored", "boxes that the mask leaves out take part", _mask_ignored),
    Mutant("nms-match/mask-afterwards", "boxes that the mask leaves out open groups, and leave them then",
           _mask_afterwards),
    Mutant("nms-match/masked-join", "boxes that the mask leaves out join groups", _masked_join),
    Mutant("nms-match/in-place", "its scores overwritten", mistakes.overwriting(_MATCH, "scores")),
    Mutant("nms-match/broadcast", "scores repeated for boxes of another number",
           mistakes.broadcasting(_MATCH, "scores", "boxes")),
    Mutant("nms-match/unchecked", "no check of its threshold", mistakes.unchecked(
        _MATCH, iou_threshold=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("nms-match/raises-on-empty", "an error without boxes", mistakes.failing_on_empty(_MATCH, "scores")),
    Mutant("nms-match/lost-tail", "boxes beyond the last whole chunk lost", mistakes.losing_the_tail(_MATCH)),
)  # fmt: skip


def _ranked(order: Callable[[Array, Array, Array], tuple[Array, ...]]) -> Function:
    """Score-HLR by other sorting keys, the last one first."""

    def function(*, scores: Array, groups: Array) -> Array:
        right = _RANK(scores, groups)
        of = np.flatnonzero(groups >= 0)
        s, g = np.asarray(scores, dtype=np.float64)[of], groups[of]
        local = np.array([((g == g[i]) & ((s > s[i]) | ((s == s[i]) & (np.arange(len(s)) < i)))).sum()
                          for i in range(len(s))], dtype=np.int64)  # fmt: skip
        right[of] = np.argsort(np.lexsort(order(local, s, g)))
        return right

    return function


def _zero_elsewhere(*, scores: Array, groups: Array) -> Array:
    return np.maximum(_RANK(scores, groups), 0)


def _from_one(*, scores: Array, groups: Array) -> Array:
    return np.where(groups >= 0, _RANK(scores, groups) + 1, -1)


def _ungrouped_ranked(*, scores: Array, groups: Array) -> Array:
    _RANK(scores, groups)
    return _RANK(scores, groups - groups.min(initial=0))


RANK_MUTANTS = (
    Mutant("score-hlr/global-sort", "the score rank, whatever the group", _ranked(lambda _, s, __: (-s,))),
    Mutant("score-hlr/group-by-group", "all of one group before the next", _ranked(lambda r, _, g: (r, g))),
    Mutant("score-hlr/group-second", "of equal local rank in the order of the groups",
           _ranked(lambda r, _, g: (g, r))),
    Mutant("score-hlr/ascending", "of equal local rank the lowest score first", _ranked(lambda r, s, _: (s, r))),
    Mutant("score-hlr/last-of-equal", "of equal scores the higher index first",
           _ranked(lambda r, s, _: (-np.arange(len(s)), -s, r))),
    Mutant("score-hlr/from-one", "ranks from 1", _from_one),
    Mutant("score-hlr/zero-elsewhere", "rank 0 for what has no group", _zero_elsewhere),
    Mutant("score-hlr/ungrouped-ranked", "what has no group ranked as one", _ungrouped_ranked),
    Mutant("score-hlr/in-place", "its scores overwritten", mistakes.overwriting(_RANK, "scores")),
    Mutant("score-hlr/broadcast", "scores repeated for groups of another number",
           mistakes.broadcasting(_RANK, "scores", "groups")),
    Mutant("score-hlr/raises-on-empty", "an error without negatives", mistakes.failing_on_empty(_RANK, "scores")),
    Mutant("score-hlr/lost-tail", "ranks beyond the last whole chunk lost", mistakes.losing_the_tail(_RANK)),
)  # fmt: skip


# --- contracts of the groups and the ranks --------------------------------------------------------------------

_IMPLIED = "implied by the values; kept because a failure then names the law that is broken"
_BOXES = Argument("boxes", ("N", "4"), "float", "x1, y1, x2, y2", domain=on_the_grid)
_SCORE = Argument("scores", ("N",), "float", "of each box", domain=on_the_grid)
_MASK = Argument("mask", ("N",), "bool", "False for boxes that take no part", optional=True)

NMS_MATCH = Technique(
    id="nms_match",
    title="NMS-match (PISA)",
    family="soft_sampling",
    summary="Clusters of boxes, as non-maximum suppression would form them.",
    sources=(_PAPER,),
    oracle=_MATCH,
    arguments=(_BOXES, _SCORE, _MASK),
    options=(Option("iou_threshold", 0.5, "IoU from which on a box joins a group"),),
    outputs=(Output("groups", ("N",), "int", "number of the group, in the order in which they are opened"),),
    requirements=(
        Requirement("NM-1", Level.MUST, Kind.VALUE,
                    "By score, a box without a group opens one and takes all boxes without a group that overlap it.",
                    "section 3, Score-HLR", value, matched, scenes=(crowd,), dtypes=FULL,
                    reaches={"a box near a member of another group": _chain}),
        Requirement("NM-2", Level.MUST, Kind.TIES, "An IoU equal to the threshold joins.", "ruling threshold", value,
                    at_the_threshold, dtypes=FULL, examples=0.5),
        Requirement("NM-3", Level.MUST, Kind.TIES, "Of equal scores the lower index goes first.", "ruling ties", value,
                    equal_scores, dtypes=FULL),
        Requirement("NM-4", Level.MUST, Kind.EMPTY, "A box without an area is a group of its own.",
                    "ruling degenerate", value, degenerate, dtypes=FULL, examples=0.5),
        Requirement("NM-5", Level.MUST, Kind.EMPTY, "Without boxes there is no group.", "house rule", value, no_box,
                    dtypes=FULL, examples=0.05),
        Requirement("NM-6", Level.MUST, Kind.BOUND, "Groups are numbered as they open and hold what overlaps the best.",
                    "section 3, Score-HLR", groups_have_leaders, matched, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("NM-7", Level.MUST, Kind.INVARIANCE, "Reordering the boxes reorders the groups.",
                    "section 3, Score-HLR", same_as(reordered, "groups of the reordered boxes", _flip), matched,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("NM-8", Level.MUST, Kind.INVARIANCE, "Place and size of the image mean nothing.",
                    "section 3, Score-HLR", same_as(moved, "groups of the moved boxes"), matched, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("NM-9", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, matched, dtypes=FULL, examples=0.3),
        Requirement("NM-10", Level.SHOULD, Kind.ERROR, "Scores of another number than the boxes' are refused.",
                    "house rule", refuses(bad_shape("scores")), matched, dtypes=FULL, examples=0.2),
        Requirement("NM-11", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("iou_threshold", 1.5)), matched, dtypes=FULL, examples=0.2),
        Requirement("NM-12", Level.SHOULD, Kind.VALUE, "Boxes that the mask leaves out open no group and join none.",
                    "section 3, Score-HLR: of the negatives", value, masked, dtypes=FULL, examples=0.5,
                    reaches={"the best box left out": _best_left_out}),
    ),
    mutants=MATCH_MUTANTS,
    rulings=(
        Ruling("threshold", "An IoU equal to the threshold joins; ordinary suppression asks for more than it."),
        Ruling("ties", "Of equal scores the lower index goes first."),
        Ruling("degenerate", "A box without an area has IoU 0 with all, and opens a group of its own."),
    ),
    not_applicable={
        Kind.GRADIENT: "groups have no gradient", Kind.DETACHED: "groups have no gradient",
        Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.CONSERVATION: "NM-6 counts the groups",
        Kind.EXTREME: "boxes and scores are plain numbers", Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

SCORE_HIERARCHICAL_LOCAL_RANK = Technique(
    id="score_hierarchical_local_rank",
    title="Score hierarchical local rank (PISA)",
    family="soft_sampling",
    summary="Rank of every grouped negative: the best of each group first, then every second best.",
    sources=(_PAPER,),
    oracle=_RANK,
    arguments=(_SCORE, Argument("groups", ("N",), "int", "number of the group, -1 for none")),
    options=(),
    outputs=(Output("ranks", ("N",), "int", "0 is the most important; -1 for what has no group"),),
    requirements=(
        Requirement("SH-1", Level.MUST, Kind.VALUE, "Ordered by their rank in the group, then by their score.",
                    "section 3, Score-HLR", value, grouped, scenes=(grouped_crowd,),
                    reaches={"what has no group": lambda c: bool((c.arguments["groups"] == -1).any())}),
        Requirement("SH-2", Level.MUST, Kind.TIES, "Of equal scores the lower index goes first.", "ruling ties", value,
                    grouped_equal_scores),
        Requirement("SH-3", Level.MUST, Kind.EMPTY, "Without negatives or groups there is no rank.", "house rule",
                    value, grouped_nothing, examples=0.3),
        Requirement("SH-4", Level.MUST, Kind.BOUND, "Ranks are 0..n - 1, and the best of every group comes first.",
                    "section 3, Score-HLR", leaders_first, grouped, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-5", Level.MUST, Kind.INVARIANCE, "Only the order of the scores counts.",
                    "section 3, Score-HLR", same_as(halved_scores, "ranks by other scores"), grouped, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-6", Level.MUST, Kind.INVARIANCE, "The numbers of the groups mean nothing.",
                    "section 3, Score-HLR", same_as(renamed_groups, "ranks with other numbers"), grouped, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("SH-7", Level.MUST, Kind.INVARIANCE, "Reordering the negatives reorders the ranks.",
                    "section 3, Score-HLR", same_as(reordered, "ranks of the reordered negatives", _flip), grouped,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, grouped, examples=0.3),
        Requirement("SH-9", Level.SHOULD, Kind.ERROR, "Scores of another number than the groups' are refused.",
                    "house rule", refuses(bad_shape("scores")), grouped, examples=0.2),
    ),
    mutants=RANK_MUTANTS,
    rulings=(Ruling("ties", "Of equal scores the lower index goes first."),),
    not_applicable={
        Kind.GRADIENT: "a rank has no gradient", Kind.DETACHED: "a rank has no gradient",
        Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.CONSERVATION: "SH-4 counts the ranks",
        Kind.EXTREME: "scores are plain numbers", Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
