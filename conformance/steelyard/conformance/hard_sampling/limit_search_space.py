"""Contracts of limiting the search space by objectness: filtered labels, and filtered scores.

Kong et al., "RON", CVPR 2017 (arXiv 1707.01691); Zhang et al., RefineDet, CVPR 2018 (arXiv 1711.06897), section 3.
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
    batch_equals_per_image,
    purity,
    reduces_to,
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
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.real_proposals import REAL_CLASSES, real_candidates, real_objectness
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import limit_search_space as oracle

CLASSES = 3
_THRESHOLDS = (0.25, 0.03, 0.5, 0.0)

# --- inputs: objectness in odd multiples of 1/64 and thresholds in even ones, or 0.03 --------------------------


def draw_labels(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Background mostly, some of each class, some ignored."""
    labels = draw.array(shape, lambda: float(draw.choice((CLASSES, CLASSES, 0, CLASSES, 2, -1))))
    return labels.astype(np.int64)


def draw_candidates(draw: Draw, shape: tuple[int, ...]) -> dict[str, Array]:
    """Labels and objectness, a third of it little."""
    objectness = draw.array(shape, lambda: (2 * draw.choice((20, 0, 3, 8, 31)) + 1) / 64.0)
    return {"labels": draw_labels(draw, shape), "objectness": objectness}


def candidates(draw: Draw) -> Case:
    """One to three images of up to ten candidates, some of little objectness."""
    arrays = draw_candidates(draw, (draw.integer(1, 3), draw.integer(1, 10)))
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "threshold": draw.choice(_THRESHOLDS), "keep_positives": draw.flag(),
    }  # fmt: skip
    return Case(arrays, options, draw.dtype())


def at_the_threshold(draw: Draw) -> Case:
    """Objectness of exactly the threshold."""
    shape, threshold = (1, draw.integer(1, 6)), draw.choice((0.25, 0.5, 0.03125))
    arguments = {"labels": draw_labels(draw, shape), "objectness": np.full(shape, threshold)}
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "threshold": threshold, "keep_positives": draw.flag(),
    }  # fmt: skip
    return Case(arguments, options, draw.dtype())


def without_candidates(draw: Draw) -> Case:
    """No candidate, or only ignored ones, or none that is kept."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 0)))
    arguments = {"labels": np.full(shape, draw.choice((CLASSES, -1, 0))), "objectness": np.full(shape, 1 / 64)}
    options: dict[str, OptionValue] = {"num_classes": CLASSES, "threshold": 0.25, "keep_positives": draw.flag()}
    return Case(arguments, options, draw.dtype())


def class_scores(draw: Draw) -> Case:
    """Scores of up to four classes and the background, of up to two images of four candidates."""
    shape, dtype = (draw.integer(1, 2), draw.integer(1, 4)), draw.dtype()
    scores = round_to(dtype, draw.array((*shape, draw.integer(2, 5)), draw.fraction))
    objectness = draw_candidates(draw, shape)["objectness"]
    return Case({"scores": scores, "objectness": objectness}, {"threshold": draw.choice(_THRESHOLDS)}, dtype)


def scores_at_the_threshold(draw: Draw) -> Case:
    """Objectness of exactly the threshold."""
    case = class_scores(draw)
    threshold = draw.choice((0.25, 0.5, 0.03125))
    objectness = np.full(case.arguments["objectness"].shape, threshold)
    return case.with_arguments(objectness=objectness).with_options(threshold=threshold)


def scores_of_nothing(draw: Draw) -> Case:
    """No candidate, or the background alone."""
    shape = draw.choice(((1, 0, 3), (2, 2, 1)))
    arguments = {"scores": np.full(shape, 0.5), "objectness": np.full(shape[:-1], 1 / 64)}
    return Case(arguments, {"threshold": 0.25}, draw.dtype())


def real_image(seed: int) -> Case:
    """The proposals and objects of a photograph; the best score as objectness, a float16 number with ties."""
    arguments = {"labels": real_candidates(seed).labels[None], "objectness": real_objectness(seed)[None]}
    options: dict[str, OptionValue] = {"num_classes": REAL_CLASSES, "threshold": 0.25, "keep_positives": True}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def filtered_twice(bench: Bench, case: Case) -> None:
    """What is left is left again."""
    once = bench.evaluate(case).outputs[0]
    twice = bench.evaluate(case.with_arguments(labels=once.astype(np.int64))).outputs[0]
    bench.expect(np.array_equal(once, twice), "filtering what is left changes it", case)


def higher_threshold_takes_more(bench: Bench, case: Case) -> None:
    """Each label is as it was or ignored, and what a lower threshold takes a higher one takes too."""
    low = bench.evaluate(case.with_options(threshold=0.0)).outputs[0]
    high = bench.evaluate(case).outputs[0]
    changed = low != high
    bench.expect(bool((high[changed] == -1).all()), "a higher threshold did more than to leave out", case)


def as_they_were(case: Case) -> Array:
    """The labels."""
    return case.arguments["labels"]


def sums_are_kept(bench: Bench, case: Case) -> None:
    """Scores that sum to 1 do so afterwards."""
    scores = np.zeros(case.arguments["scores"].shape)
    scores[..., 0] = 1.0
    masked = bench.evaluate(case.with_arguments(scores=scores)).outputs[0]
    bench.expect(bool((masked.astype(np.float64).sum(axis=-1) == 1.0).all()), "scores do not sum to 1 any more", case)


def reversed_candidates(case: Case) -> Case:
    """Candidates, with all that belongs to them, in reverse."""
    return case.with_arguments(**{name: np.flip(values, axis=1).copy() for name, values in case.arguments.items()})


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]


def _filter(keeps: Callable[[Array, Array, float, bool], Array], left_out: int | None = -1) -> Function:
    """Labels by a rule of what is kept, given labels, objectness, threshold and whether positives are kept."""

    def function(
        labels: Array, objectness: Array, *, num_classes: int, threshold: float, keep_positives: bool
    ) -> Array:
        oracle.objectness_filter(
            labels, objectness, num_classes=num_classes, threshold=threshold, keep_positives=keep_positives
        )
        background = np.asarray(labels) == num_classes
        kept = keeps(background, np.asarray(objectness, dtype=np.float64), threshold, keep_positives)
        return np.where(kept, labels, num_classes if left_out is None else left_out)

    return function


def _kept(background: Array, objectness: Array, threshold: float, keep_positives: bool) -> Array:  # noqa: FBT001
    return np.asarray((objectness >= threshold) | (~background & keep_positives))


_RIGHT_LABELS = oracle.objectness_filter
LABEL_MUTANTS = (
    Mutant("objectness-filter/open", "an objectness of the threshold left out",
           _filter(lambda b, o, t, k: (o > t) | (~b & k))),
    Mutant("objectness-filter/positives-instead", "positives left out instead of negatives",
           _filter(lambda b, o, t, k: (o >= t) | (b & k)), seen_in="RefineDet.PyTorch"),
    Mutant("objectness-filter/never-positives", "positives never left out", _filter(lambda b, o, t, _: (o >= t) | ~b)),
    Mutant("objectness-filter/always-positives", "positives always left out too",
           _filter(lambda _, o, t, __: o >= t)),
    Mutant("objectness-filter/of-the-background", "the threshold on the probability of the background",
           _filter(lambda b, o, t, k: (1.0 - o >= t) | (~b & k))),
    Mutant("objectness-filter/becomes-background", "what is left out made background", _filter(_kept, None)),
    Mutant("objectness-filter/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_LABELS, "labels")),
    Mutant("objectness-filter/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_LABELS, threshold=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("objectness-filter/broadcast", "labels repeated for another number of images",
           mistakes.broadcasting(_RIGHT_LABELS, "labels", "objectness")),
    Mutant("objectness-filter/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT_LABELS, "labels")),
)  # fmt: skip


def _masked(place: int, *, zeros: bool = True, closed: bool = True) -> Function:
    """Scores with 1 at a place of those left out, and 0 or what they had elsewhere."""

    def function(scores: Array, objectness: Array, *, threshold: float) -> Array:
        oracle.objectness_filter_scores(scores, objectness, threshold=threshold)
        score, probability = np.asarray(scores, dtype=np.float64), np.asarray(objectness, dtype=np.float64)
        left = np.zeros(score.shape) if zeros else score.copy()
        left[..., place] = 1.0
        kept = probability >= threshold if closed else probability > threshold
        return np.where(kept[..., None], score, left)

    return function


def _all_zero(scores: Array, objectness: Array, *, threshold: float) -> Array:
    oracle.objectness_filter_scores(scores, objectness, threshold=threshold)
    kept = np.asarray(objectness, dtype=np.float64) >= threshold
    return np.where(kept[..., None], np.asarray(scores, dtype=np.float64), 0.0)


_RIGHT_SCORES = oracle.objectness_filter_scores
SCORE_MUTANTS = (
    Mutant("objectness-scores/open", "an objectness of the threshold left out", _masked(-1, closed=False)),
    Mutant("objectness-scores/background-first", "the background in the first place", _masked(0)),
    Mutant("objectness-scores/others-kept", "the other scores left as they were", _masked(-1, zeros=False)),
    Mutant("objectness-scores/background-untouched", "no score for the background", _all_zero),
    Mutant("objectness-scores/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_SCORES, "scores")),
    Mutant("objectness-scores/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_SCORES, threshold=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("objectness-scores/broadcast", "objectness repeated for another number of images",
           mistakes.broadcasting(_RIGHT_SCORES, "objectness", "scores")),
    Mutant("objectness-scores/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT_SCORES, "scores")),
)  # fmt: skip


# --- contracts ------------------------------------------------------------------------------------------------

_IMPLIED = "implied by the first requirement; kept because a failure then names the law that is broken"
_RON = 'Kong et al., "RON: Reverse Connection with Objectness Prior Networks", CVPR 2017, arXiv 1707.01691'
_REFINEDET = 'Zhang et al., "Single-Shot Refinement Neural Network for Object Detection", CVPR 2018, arXiv 1711.06897'
_LABELS = Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore or padding")
_OBJECTNESS = Argument("objectness", ("...", "N"), "float", "probability of any object, in [0, 1]; a constant")
_NUMCLASSES = Option("num_classes", 80, "C")
_RULINGS = (
    Ruling("threshold", "Kept is an objectness of exactly the threshold: both codes drop what is strictly below."),
    Ruling("ignored", "What is left out is ignored, not background."),
)
_NOT_RANDOM = {
    Kind.GRADIENT: "labels have no gradient", Kind.DETACHED: "labels have no gradient", Kind.LIMIT: "no limit",
    Kind.DISTRIBUTION: "nothing is random", Kind.EXTREME: "probabilities; the first requirement has every precision",
}  # fmt: skip

OBJECTNESS_FILTER = Technique(
    id="objectness_filter",
    title="Labels filtered by objectness",
    family="hard_sampling",
    summary="Negatives of little objectness, or all such candidates, are ignored in training.",
    sources=(_REFINEDET, _RON),
    oracle=oracle.objectness_filter,
    arguments=(_LABELS, _OBJECTNESS),
    options=(
        _NUMCLASSES,
        Option("threshold", 0.01, "kept from here on"),
        Option("keep_positives", True, "whether positives are kept whatever their objectness"),
    ),
    outputs=(Output("labels", ("...", "N"), "int", "the labels, -1 for what is left out"),),
    requirements=(
        Requirement("OBF-1", Level.MUST, Kind.VALUE, "Below the threshold negatives, or all, are ignored.",
                    "RefineDet, section 3; RON", value, candidates, scenes=(real_image,),
                    reaches={"a positive below": lambda c: bool(
                        ((c.arguments["labels"] == 0) & (c.arguments["objectness"] < option(c, "threshold"))).any())}),
        Requirement("OBF-2", Level.MUST, Kind.TIES, "An objectness of the threshold is kept.", "ruling threshold",
                    value, at_the_threshold),
        Requirement("OBF-3", Level.MUST, Kind.EMPTY, "Nothing may be left, or have been there.", "ruling ignored",
                    value, without_candidates, examples=0.3),
        Requirement("OBF-4", Level.MUST, Kind.REDUCES_TO, "A threshold of 0 changes nothing.", "RefineDet, section 3",
                    reduces_to(as_they_were, threshold=0.0), candidates, options=("threshold",), examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("OBF-5", Level.MUST, Kind.BOUND, "A threshold ignores labels and changes none.",
                    "RefineDet, section 3", higher_threshold_takes_more, candidates, options=("threshold",),
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OBF-6", Level.MUST, Kind.CONSERVATION, "What is left is left again.", "RefineDet, section 3",
                    filtered_twice, candidates, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OBF-7", Level.MUST, Kind.BATCH, "Each image has the labels that it has alone.", "section 3",
                    batch_equals_per_image, candidates, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OBF-8", Level.MUST, Kind.INVARIANCE, "Each label depends on its own candidate.", "section 3",
                    same_as(reversed_candidates, "labels in another order", lambda y, _: y[:, ::-1]), candidates,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OBF-9", Level.MUST, Kind.PURITY, "The inputs are not written to.", "house rule", purity,
                    candidates, examples=0.3),
        Requirement("OBF-10", Level.SHOULD, Kind.ERROR, "Labels of another shape than the objectness are refused.",
                    "house rule", refuses(bad_shape("labels")), candidates, examples=0.2),
        Requirement("OBF-11", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("threshold", 1.5)), candidates, examples=0.2),
    ),
    mutants=LABEL_MUTANTS,
    rulings=_RULINGS,
    not_applicable=_NOT_RANDOM,
)  # fmt: skip

OBJECTNESS_FILTER_SCORES = Technique(
    id="objectness_filter_scores",
    title="Class scores filtered by objectness",
    family="hard_sampling",
    summary="At test time, a candidate of little objectness is background for certain.",
    sources=(_REFINEDET,),
    oracle=oracle.objectness_filter_scores,
    arguments=(
        Argument("scores", ("...", "N", "C + 1"), "float", "probabilities of the classes, the background last"),
        _OBJECTNESS,
    ),
    options=(Option("threshold", 0.01, "kept from here on"),),
    outputs=(Output("scores", ("...", "N", "C + 1"), "float", "scores; below the threshold 1 for the background"),),
    requirements=(
        Requirement("OFS-1", Level.MUST, Kind.VALUE, "Below the threshold the background has 1, all others 0.",
                    "RefineDet, section 3", value, class_scores),
        Requirement("OFS-2", Level.MUST, Kind.TIES, "An objectness of the threshold is kept.", "ruling threshold",
                    value, scores_at_the_threshold),
        Requirement("OFS-3", Level.MUST, Kind.EMPTY, "There may be no candidate, or no class but the background.",
                    "house rule", value, scores_of_nothing, examples=0.2),
        Requirement("OFS-4", Level.MUST, Kind.CONSERVATION, "Scores that sum to 1 do so afterwards.",
                    "RefineDet, section 3", sums_are_kept, class_scores, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFS-5", Level.MUST, Kind.BATCH, "Each image has the scores that it has alone.", "section 3",
                    batch_equals_per_image, class_scores, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFS-6", Level.MUST, Kind.INVARIANCE, "Each candidate's scores depend on itself.", "section 3",
                    same_as(reversed_candidates, "scores in another order", lambda y, _: y[:, ::-1]), class_scores,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFS-7", Level.MUST, Kind.PURITY, "The inputs are not written to.", "house rule", purity,
                    class_scores, examples=0.3),
        Requirement("OFS-8", Level.SHOULD, Kind.ERROR, "Objectness of another shape than the scores' is refused.",
                    "house rule", refuses(bad_shape("objectness")), class_scores, examples=0.2),
        Requirement("OFS-9", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("threshold", 1.5)), class_scores, examples=0.2),
    ),
    mutants=SCORE_MUTANTS,
    rulings=_RULINGS[:1],
    not_applicable={
        Kind.GRADIENT: "used at test time", Kind.DETACHED: "used at test time", Kind.LIMIT: "no limit",
        Kind.REDUCES_TO: "OFS-1 has a threshold of 0, which changes nothing", Kind.DISTRIBUTION: "nothing is random",
        Kind.BOUND: "OFS-4 says what sums are kept", Kind.EXTREME: "probabilities; OFS-1 has every precision",
    },
)  # fmt: skip
