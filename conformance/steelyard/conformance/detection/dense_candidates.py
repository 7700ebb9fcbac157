"""Contract of the candidates of a one-stage detector: pairs of an anchor and a class, and the few that are detections.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 4.1, "Inference".
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, bad_shape, leaving_out, purity, refuses, value
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
from steelyard.conformance.detection import dense_candidates_mutants as wrong
from steelyard.conformance.detection.scored_boxes import (
    INPUT_SIDE,
    THRESHOLDS,
    halves_and_quarters,
    magnified,
    on_the_grid,
    places,
    real_proposals,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import dense_candidates as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.boxes import clip_boxes

_PAPER = 'Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv 1708.02002, section 4.1'
_IMAGE = np.array([24.0, 20.0])

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, boxes: Array, probabilities: Array, **options: OptionValue) -> Case:
    arguments = {"boxes": boxes, "probabilities": probabilities, "image_size": _IMAGE.copy(),
                 "levels": draw.integers((len(boxes),), 0, 1)}  # fmt: skip
    drawn: dict[str, OptionValue] = {
        "num_levels": 2, "score_threshold": draw.choice((0.05, 0.3, 0.0)),
        "pre_nms_top_k": draw.choice((6, 2, 3, None)), "nms_iou": draw.choice((*THRESHOLDS, None)),
        "post_nms_top_k": draw.choice((5, 2, 30)),
    }  # fmt: skip
    return Case(arguments, {**drawn, **options}, draw.dtype())


def _distinct(draw: Draw, shape: tuple[int, int]) -> Array:
    """Odd multiples of 1/64 in any order: never 0.05, 0.3 or 0."""
    order = np.argsort(np.argsort(draw.array(shape, draw.fraction).ravel(), kind="stable"), kind="stable")
    return (2.0 * order.reshape(shape) + 1.0) / 64.0


def anchors(draw: Draw) -> Case:
    """Up to eight anchors with up to three classes on two levels, across the border of the image."""
    shape = draw.integer(1, 8), draw.integer(1, 3)
    return _case(draw, places(draw, shape[0]) - 2.0, _distinct(draw, shape))


def equal_probabilities(draw: Draw) -> Case:
    """Few different probabilities."""
    shape = draw.integer(2, 6), draw.integer(1, 3)
    return _case(draw, places(draw, shape[0]), draw.array(shape, lambda: draw.choice((0.5, 0.25, 0.75, 0.0))))


def at_the_thresholds(draw: Draw) -> Case:
    """Probabilities and IoUs of exactly the thresholds: halves and quarters."""
    shape = draw.integer(2, 5), draw.integer(1, 2)
    probabilities = draw.array(shape, lambda: draw.choice((0.5, 0.25, 0.75, 1.0)))
    return _case(draw, halves_and_quarters(draw, shape[0]), probabilities, pre_nms_top_k=None,
                 score_threshold=draw.choice((0.25, 0.5, 1.0)), nms_iou=draw.choice((0.5, 0.25)))  # fmt: skip


def thresholds_of_zero(draw: Draw) -> Case:
    """A threshold of 0, which still drops what has probability 0; small probabilities else."""
    shape = draw.integer(2, 6), draw.integer(1, 2)
    probabilities = draw.array(shape, lambda: draw.choice((0.0, 1 / 64, 1 / 32, 0.5)))
    return _case(draw, places(draw, shape[0]), probabilities, score_threshold=0.0)


def no_pair(draw: Draw) -> Case:
    """No anchor, no class, or none above the threshold."""
    shape = draw.choice(((0, 2), (3, 0), (3, 2)))
    return _case(draw, places(draw, shape[0]), np.zeros(shape))


def half(draw: Draw) -> Case:
    """Boxes and image 64 times as large: areas beyond float16."""
    case = anchors(draw)
    return case.with_arguments(boxes=64.0 * case.arguments["boxes"], image_size=64.0 * _IMAGE)


def of_a_photograph(seed: int) -> Case:
    """The 256 best boxes of a detector: the class of each with its probability in float16, a second one below it."""
    found = real_proposals(seed)
    probability = (1.0 / (1.0 + np.exp(-found.scores))).astype(np.float16).astype(np.float64)
    probabilities = np.zeros((len(probability), 80))
    probabilities[np.arange(len(probability)), (found.classes + 1) % 80] = probability / 2.0
    probabilities[np.arange(len(probability)), found.classes] = probability
    arguments = {"boxes": found.boxes, "probabilities": probabilities, "image_size": np.full(2, INPUT_SIDE),
                 "levels": found.levels.astype(np.int64)}  # fmt: skip
    options: dict[str, OptionValue] = {"num_levels": 3, "score_threshold": 0.05, "pre_nms_top_k": 100, "nms_iou": 0.5,
                                       "post_nms_top_k": 100}  # fmt: skip
    return Case(arguments, options, "float32", origin=f"photograph {seed}")


def _anchor_of_two_classes(case: Case) -> bool:
    found = oracle.dense_candidates(**case.arguments, **case.options)  # type: ignore[arg-type]
    chosen = found.indices[found.indices >= 0].tolist()
    return len(set(chosen)) < len(chosen)


# --- laws -----------------------------------------------------------------------------------------------------


def likely_apart_and_inside(bench: Bench, case: Case) -> None:
    """Rows are their pairs, above the threshold, best first; of one class none overlaps another by more."""
    indices, classes, boxes, scores = bench.evaluate(case).outputs
    number = int((indices >= 0).sum())
    own, labels = indices[:number], classes[:number]
    bench.expect(bool((own >= 0).all() and (labels >= 0).all()), "padding before a detection", case)
    anchors_there, classes_there = case.arguments["probabilities"].shape
    bench.expect(bool((own < anchors_there).all()), "an anchor that is not there", case)
    bench.expect(bool((labels < classes_there).all()), "a class that is not there", case)
    clipped = clip_boxes(case.arguments["boxes"], case.arguments["image_size"])[own]
    bench.expect(bool((boxes[:number] == clipped).all()), "a row that is not its anchor's clipped box", case)
    probabilities = case.arguments["probabilities"][own, labels]
    bench.expect(bool((scores[:number] == probabilities).all()), "a score that is not its pair's", case)
    bench.expect(bool((scores[:number] > option(case, "score_threshold")).all()), "a score below the threshold", case)
    bench.expect(bool((np.diff(scores[:number]) <= 0).all()), "scores that rise", case)
    if case.options["nms_iou"] is not None:
        overlaps = pairwise_iou(clipped, clipped) * ((labels[:, None] == labels) & ~np.eye(number, dtype=bool))
        near = overlaps > option(case, "nms_iou") + 1e-6
        bench.expect(not near.any(), "two detections of a class overlap by more than the threshold", case)


def size_means_nothing(bench: Bench, case: Case) -> None:
    """The same pairs in a picture four times as large."""
    one, other = bench.evaluate(case).outputs[:2], bench.evaluate(magnified(case)).outputs[:2]
    same = all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    bench.expect(same, "other detections in a larger picture", case)


_IMPLIED = "implied by DENSE-1; kept because a failure then names the law that is broken"

DENSE_CANDIDATES = Technique(
    id="dense_candidates",
    title="Candidates of a one-stage detector",
    family="detection",
    summary="Every anchor with every class, and the few of these pairs that become detections.",
    sources=(_PAPER,),
    oracle=oracle.dense_candidates,
    arguments=(
        Argument("boxes", ("N", "4"), "float", "decoded boxes, one an anchor", domain=on_the_grid),
        Argument("probabilities", ("N", "C"), "float", "of each class by itself", domain=on_the_grid),
        Argument("image_size", ("2",), "float", "height and width", domain=on_the_grid),
        Argument("levels", ("N",), "int", "pyramid level of each anchor"),
    ),
    options=(
        Option("num_levels", 1, "L"),
        Option("score_threshold", 0.05, "pairs must be above it"),
        Option("pre_nms_top_k", 1000, "best pairs of each level that go on; None: all"),
        Option("nms_iou", 0.5, "overlap above which a pair is suppressed; None: no suppression"),
        Option("post_nms_top_k", 100, "K, detections of the image"),
    ),
    outputs=(
        Output("indices", ("K",), "int", "which anchor, best first; -1 for padding"),
        Output("classes", ("K",), "int", "which class, -1 for padding"),
        Output("boxes", ("K", "4"), "float", "clipped to the image, 0 for padding"),
        Output("scores", ("K",), "float", "probability, 0 for padding"),
    ),
    requirements=(
        Requirement("DENSE-1", Level.MUST, Kind.VALUE,
                    "Pairs above the threshold, the best of each level, suppressed within their class, the best.",
                    _PAPER, value, anchors, scenes=(of_a_photograph,), dtypes=FULL, examples=0.6,
                    no_mutant="what is wrong here is wrong for equal scores too, DENSE-3",
                    reaches={"an anchor with two classes": _anchor_of_two_classes}),
        Requirement("DENSE-2", Level.MUST, Kind.TIES,
                    "A probability equal to the threshold is dropped; an IoU equal to its threshold remains.",
                    "ruling thresholds", value, at_the_thresholds, dtypes=FULL, examples=0.6,
                    no_mutant="boxes that are cut to the image reach a threshold in DENSE-1 too"),
        Requirement("DENSE-3", Level.MUST, Kind.TIES, "Equal scores in the order of their anchors, then classes.",
                    "ruling ties", value, equal_probabilities, dtypes=FULL, examples=0.6,
                    no_mutant="a photograph's scores are equal often enough for DENSE-1 to see it too"),
        Requirement("DENSE-4", Level.MUST, Kind.LIMIT, "0 is a threshold; what has probability 0 is dropped.",
                    "house rule", value, thresholds_of_zero, options=("score_threshold",), dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("DENSE-5", Level.MUST, Kind.EMPTY, "Without pairs all rows are padding.", "house rule", value,
                    no_pair, dtypes=FULL, examples=0.1),
        Requirement("DENSE-6", Level.SHOULD, Kind.EXTREME, "Half-precision boxes have IoUs in float32.", "house rule",
                    value, half, dtypes=HALF, examples=0.3),
        Requirement("DENSE-7", Level.MUST, Kind.BOUND, "Detections are likely, inside, apart, and best first.", _PAPER,
                    likely_apart_and_inside, equal_probabilities, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("DENSE-8", Level.MUST, Kind.INVARIANCE, "The size of the picture means nothing.", _PAPER,
                    size_means_nothing, anchors, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("DENSE-9", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, anchors, dtypes=FULL, examples=0.2),
        Requirement("DENSE-10", Level.SHOULD, Kind.ERROR, "Anchors of another number than their scores are refused.",
                    "house rule", refuses(bad_shape("probabilities")), anchors, dtypes=FULL, examples=0.1),
        Requirement("DENSE-11", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("score_threshold", 1.5)), anchors, dtypes=FULL, examples=0.1),
        Requirement("DENSE-12", Level.SHOULD, Kind.EMPTY, "Without levels there is one.", "house rule",
                    leaving_out("levels"), anchors, dtypes=FULL, examples=0.4),
    ),
    mutants=wrong.MUTANTS,
    rulings=(
        Ruling("thresholds", "A score must be above its threshold; an overlap suppresses only above its own."),
        Ruling("ties", "Equal scores in the order of their anchors, then of their classes."),
        Ruling("classes", "Suppression is within a class, over all levels; the first choice is within a level."),
    ),
    not_applicable={
        Kind.GRADIENT: "boxes and scores come out as they went in", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "its parts have contracts: top_k_by_level, clip_boxes, greedy_non_maximum_suppression",
        Kind.CONSERVATION: "conserves nothing", Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
