"""Contract of the first stage of a two-stage detector: from scored anchors to proposals.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.3; the order of the steps as in detectron2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, bad_shape, leaving_out, padding, purity, refuses, value
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
from steelyard.conformance.detection import proposals_mutants as wrong
from steelyard.conformance.detection.scored_boxes import (
    INPUT_SIDE,
    THRESHOLDS,
    distinct_scores,
    few_scores,
    halves_and_quarters,
    magnified,
    on_the_grid,
    places,
    real_proposals,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import proposals as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.boxes import clip_boxes

_PAPER = 'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.3'
_IMAGE = np.array([24.0, 32.0])

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, boxes: Array, scores: Array, **options: OptionValue) -> Case:
    number = len(boxes)
    arguments = {"boxes": boxes, "objectness": scores, "image_size": _IMAGE.copy(),
                 "levels": draw.integers((number,), 0, 1),
                 "mask": np.array([not draw.flag(10) for _ in range(number)], dtype=bool)}  # fmt: skip
    defaults: dict[str, OptionValue] = {
        "num_levels": 2, "pre_nms_top_k": draw.choice((6, 2, 3, None)), "minimum_side": 0.0,
        "objectness_threshold": None, "nms_iou": draw.choice(THRESHOLDS), "post_nms_top_k": draw.choice((6, 2, 20)),
    }  # fmt: skip
    return Case(arguments, {**defaults, **options}, draw.dtype())


def _logits(draw: Draw, number: int) -> Array:
    return 8.0 * distinct_scores(draw, number) - 2.0


def clusters(draw: Draw) -> Case:
    """Up to twelve boxes on two levels, some of them across the border of the image."""
    number = draw.integer(1, 12)
    return _case(draw, places(draw, number) - 3.0, _logits(draw, number))


def across_the_border(draw: Draw) -> Case:
    """Boxes that are equal once they are cut to the image, or of which nothing is left."""
    number = draw.integer(2, 8)
    boxes = places(draw, number)
    boxes[:, :2] -= draw.array((number, 2), lambda: float(draw.choice((0, 4, 8, 16))))
    boxes -= draw.array((number, 1), lambda: float(draw.choice((0, 0, 8, 64, -8))))
    return _case(draw, boxes, _logits(draw, number), pre_nms_top_k=None, post_nms_top_k=8)


def at_the_thresholds(draw: Draw) -> Case:
    """Sides, scores and IoUs of exactly the thresholds: halves and quarters."""
    number = draw.integer(2, 6)
    return _case(draw, halves_and_quarters(draw, number), _logits(draw, number), pre_nms_top_k=None,
                 minimum_side=draw.choice((2.0, 0.0, 4.0)),
                 objectness_threshold=draw.choice((None, -1.875, -1.625, 0.0)),
                 nms_iou=draw.choice((0.5, 0.25, None)))  # fmt: skip


def thresholds_of_zero(draw: Draw) -> Case:
    """An objectness threshold of logit 0, which is not None."""
    number = draw.integer(2, 8)
    return _case(draw, places(draw, number), _logits(draw, number) - 0.125, objectness_threshold=0.0)


def equal_scores(draw: Draw) -> Case:
    """Few different scores."""
    number = draw.integer(2, 10)
    return _case(draw, places(draw, number), few_scores(draw, number))


def no_candidate(draw: Draw) -> Case:
    """No box, or none that takes part."""
    number = draw.choice((0, 3))
    case = _case(draw, places(draw, number), _logits(draw, number))
    return case.with_arguments(mask=np.zeros(number, dtype=bool))


def half(draw: Draw) -> Case:
    """Boxes and image 64 times as large: areas beyond float16."""
    case = clusters(draw)
    return case.with_arguments(boxes=64.0 * case.arguments["boxes"], image_size=64.0 * _IMAGE)


def of_a_photograph(seed: int) -> Case:
    """The 256 best boxes of a detector, unclipped, on three levels; float16 logits, several of them equal."""
    found = real_proposals(seed)
    arguments = {"boxes": found.boxes, "objectness": found.scores, "image_size": np.full(2, INPUT_SIDE),
                 "levels": found.levels.astype(np.int64), "mask": np.ones(len(found.boxes), dtype=bool)}  # fmt: skip
    options: dict[str, OptionValue] = {"num_levels": 3, "pre_nms_top_k": 100, "minimum_side": 0.0,
                                       "objectness_threshold": None, "nms_iou": 0.7, "post_nms_top_k": 50}  # fmt: skip
    return Case(arguments, options, "float32", origin=f"photograph {seed}")


def _leaves_padding(case: Case) -> bool:
    return bool((oracle.filter_proposals(**case.arguments, **case.options).indices == -1).any())  # type: ignore[arg-type]


# --- laws -----------------------------------------------------------------------------------------------------


def few_apart_and_inside(bench: Bench, case: Case) -> None:
    """Rows are their candidates, clipped; scores fall; of one level none overlaps another by more; padding is last."""
    indices, boxes, scores = bench.evaluate(case).outputs
    chosen = indices[indices >= 0]
    number = len(chosen)
    bench.expect(bool((indices[:number] >= 0).all()), "padding before a proposal", case)
    bench.expect(len(set(chosen.tolist())) == number, "a candidate twice", case)
    bench.expect(bool((chosen < len(case.arguments["boxes"])).all()), "a candidate that is not there", case)
    own = clip_boxes(case.arguments["boxes"], case.arguments["image_size"])[chosen]
    bench.expect(bool((boxes[:number] == own).all()), "a row that is not its candidate's clipped box", case)
    bench.expect(not boxes[number:].any() and not scores[number:].any(), "padding that is not 0", case)
    bench.expect(bool((np.diff(scores[:number]) <= 0).all()), "scores that rise", case)
    if case.options["nms_iou"] is not None:
        levels = case.arguments["levels"][chosen]
        overlaps = pairwise_iou(own, own) * ((levels[:, None] == levels) & ~np.eye(number, dtype=bool))
        near = overlaps > option(case, "nms_iou") + 1e-6
        bench.expect(not near.any(), "two proposals of a level overlap by more than the threshold", case)


def shifted_logits(case: Case) -> Case:
    """Every score one higher, and the threshold too: only the order counts."""
    threshold = case.options["objectness_threshold"]
    moved = case.with_arguments(objectness=case.arguments["objectness"] + 1.0)
    return moved if threshold is None else moved.with_options(objectness_threshold=float(threshold) + 1.0)


def same_choice(transform: Any) -> Any:  # noqa: ANN401 - of cases
    """The same candidates are chosen in a transformed case."""

    def check(bench: Bench, case: Case) -> None:
        one, other = bench.evaluate(case).outputs[0], bench.evaluate(transform(case)).outputs[0]
        bench.expect(np.array_equal(one, other), f"{one.tolist()} before, {other.tolist()} after", case)

    return check


_IMPLIED = "implied by PROP-1; kept because a failure then names the law that is broken"

FILTER_PROPOSALS = Technique(
    id="filter_proposals",
    title="Two-stage filter of proposals",
    family="detection",
    summary="By objectness and overlap, few proposals of many anchors: the first remedy against background.",
    sources=(_PAPER, "detectron2's find_top_rpn_proposals"),
    oracle=oracle.filter_proposals,
    arguments=(
        Argument("boxes", ("N", "4"), "float", "decoded boxes", domain=on_the_grid),
        Argument("objectness", ("N",), "float", "score of each box: probability or logit", domain=on_the_grid),
        Argument("image_size", ("2",), "float", "height and width", domain=on_the_grid),
        Argument("levels", ("N",), "int", "pyramid level of each box"),
        Argument("mask", ("N",), "bool", "boxes that take part"),
    ),
    options=(
        Option("num_levels", 1, "L"),
        Option("pre_nms_top_k", 2000, "best scores of each level that go on; None: all"),
        Option("minimum_side", 0.0, "a box remains if both sides are longer"),
        Option("objectness_threshold", None, "lowest score that goes on; None: any"),
        Option("nms_iou", 0.7, "overlap above which a box is suppressed; None: no suppression"),
        Option("post_nms_top_k", 1000, "K, proposals of the image"),
    ),
    outputs=(
        Output("indices", ("K",), "int", "which candidate, best first; -1 for padding"),
        Output("boxes", ("K", "4"), "float", "clipped to the image, 0 for padding"),
        Output("scores", ("K",), "float", "as they came in, 0 for padding"),
    ),
    requirements=(
        Requirement("PROP-1", Level.MUST, Kind.VALUE,
                    "Per level the best scores; clipped; neither thin nor unlikely; suppressed per level; the best.",
                    _PAPER, value, clusters, scenes=(of_a_photograph,), dtypes=FULL, examples=0.6,
                    reaches={"rows of padding": _leaves_padding}),
        Requirement("PROP-2", Level.MUST, Kind.VALUE, "Clipping comes before sides and overlaps are measured.",
                    "ruling clip-first", value, across_the_border, dtypes=FULL, examples=0.6,
                    no_mutant="the boxes of PROP-1 cross the border too"),
        Requirement("PROP-3", Level.MUST, Kind.TIES,
                    "A side equal to the shortest is dropped; a score equal to the lowest, an IoU equal to the "
                    "threshold remain.", "ruling thresholds", value, at_the_thresholds, dtypes=FULL, examples=0.8),
        Requirement("PROP-4", Level.MUST, Kind.TIES, "Of equal scores the lower index goes first.", "ruling ties",
                    value, equal_scores, dtypes=FULL, examples=0.5,
                    no_mutant="a photograph's scores are equal often enough for PROP-1 to see it too"),
        Requirement("PROP-5", Level.MUST, Kind.LIMIT, "An objectness threshold of 0 is a threshold.", "house rule",
                    value, thresholds_of_zero, options=("objectness_threshold",), dtypes=FULL, examples=0.3,
                    no_mutant="PROP-3 draws a threshold of 0 too"),
        Requirement("PROP-6", Level.MUST, Kind.EMPTY, "Without candidates all rows are padding.", "house rule", value,
                    no_candidate, dtypes=FULL, examples=0.1),
        Requirement("PROP-7", Level.SHOULD, Kind.EXTREME, "Half-precision boxes have IoUs in float32.", "house rule",
                    value, half, dtypes=HALF, examples=0.3),
        Requirement("PROP-8", Level.MUST, Kind.BOUND, "Proposals are inside, apart, and in the order of their scores.",
                    _PAPER, few_apart_and_inside, across_the_border, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("PROP-9", Level.MUST, Kind.INVARIANCE, "Only the order of the scores counts.", _PAPER,
                    same_choice(shifted_logits), clusters, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("PROP-10", Level.MUST, Kind.INVARIANCE, "The size of the picture means nothing.", _PAPER,
                    same_choice(magnified), clusters, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("PROP-11", Level.MUST, Kind.INVARIANCE, "Padding outside the mask changes nothing.", "ruling mask",
                    padding(0, boxes=2.0, objectness=9.0, levels=0, mask=0), clusters, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("PROP-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, clusters, dtypes=FULL, examples=0.3),
        Requirement("PROP-13", Level.SHOULD, Kind.ERROR, "Scores of another number than the boxes' are refused.",
                    "house rule", refuses(bad_shape("objectness")), clusters, dtypes=FULL, examples=0.1),
        Requirement("PROP-14", Level.MAY, Kind.ERROR, "No proposals, and a negative shortest side, are refused.",
                    "house rule", refuses(bad_option("post_nms_top_k", 0), bad_option("minimum_side", -1.0)), clusters,
                    dtypes=FULL, examples=0.1),
        Requirement("PROP-15", Level.SHOULD, Kind.EMPTY, "Without levels there is one, without a mask all take part.",
                    "house rule", leaving_out("levels", "mask"), clusters, dtypes=FULL, examples=0.2),
    ),
    mutants=wrong.MUTANTS,
    rulings=(
        Ruling("clip-first", "Boxes are clipped before their sides and overlaps are measured."),
        Ruling("thresholds", "Sides must be longer than the shortest one; scores at least the lowest one; an overlap "
                             "suppresses only above its threshold."),
        Ruling("ties", "Of equal scores the lower index goes first, in both choices and in the suppression."),
        Ruling("mask", "What the mask leaves out takes no place among the best."),
    ),
    not_applicable={
        Kind.GRADIENT: "boxes and scores come out as they went in", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "its parts have contracts: top_k_by_level, clip_boxes, greedy_non_maximum_suppression",
        Kind.CONSERVATION: "conserves nothing", Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
