"""Contracts of the finer counts of a census: by object, by weight, and over mini-batches.

Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv 1909.00169), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import BadInput, Bench, bad_shape, plain, purity, refuses, same_as, value
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
from steelyard.conformance.detection.census import ANY, REVIEW, draw_labels, reordered
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import points_of_image
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.reference.detection import census_details as oracle

_CLASSES = 3
Function = Callable[..., Any]
_LABELS = Argument("labels", ("N",), "int", "0..C-1 foreground, C background, -1 ignored")
_NUM_CLASSES = Option("num_classes", 80, "C")
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_COUNTS = {
    Kind.GRADIENT: "a census is not differentiated", Kind.DETACHED: "a census is not differentiated",
    Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.BOUND: "sums have no other bound",
    Kind.TIES: "no threshold", Kind.DISTRIBUTION: "not random",
}  # fmt: skip

# --- by object ------------------------------------------------------------------------------------------------


def matched(draw: Draw) -> Case:
    """Up to 12 candidates of up to four objects; what is not foreground has an object too, its nearest."""
    number, objects = draw.integer(1, 12), draw.integer(1, 4)
    arguments = {"matched_gt": draw.integers((number,), 0, objects - 1), "labels": draw_labels(draw, number)}
    return Case(arguments, {"num_objects": objects, "num_classes": _CLASSES}, draw.dtype(ANY))


def without_objects(draw: Draw) -> Case:
    """No object, so that all candidates are background; or no candidate."""
    number, objects = draw.choice(((3, 0), (0, 2), (0, 0)))
    arguments = {"matched_gt": np.zeros(number, dtype=np.int64), "labels": np.full(number, _CLASSES)}
    return Case(arguments, {"num_objects": objects, "num_classes": _CLASSES}, draw.dtype(ANY))


def anchors_of_objects(seed: int) -> Case:
    """200,000 anchors of seven objects, half of them foreground."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(200_000) < 0.5, random.integers(0, _CLASSES, 200_000), _CLASSES)
    arguments = {"matched_gt": random.integers(0, 7, labels.size), "labels": labels}
    return Case(arguments, {"num_objects": 7, "num_classes": _CLASSES}, ANY[0], origin=f"scene {seed}")


def sums_to_the_foreground(bench: Bench, case: Case) -> None:
    """The foreground candidates of all objects are all foreground candidates."""
    found = int(bench.evaluate(case).outputs[0].sum())
    labels = case.arguments["labels"]
    wanted = int(((labels >= 0) & (labels < _CLASSES)).sum())
    bench.expect(found == wanted, f"{found} candidates of all objects, expected {wanted}", case)


_BY_OBJECT = oracle.foreground_by_object


def _objects(change: Callable[[Array, Array, int], Array]) -> Function:
    """The count of other candidates."""

    def mutant(matched_gt: Array, labels: Array, *, num_objects: int, num_classes: int) -> Array:
        _BY_OBJECT(matched_gt, labels, num_objects=num_objects, num_classes=num_classes)
        chosen = change(np.asarray(matched_gt), np.asarray(labels), num_classes)
        return np.bincount(chosen, minlength=num_objects)[:num_objects]

    return mutant


def _short(**keywords: Any) -> Array:  # noqa: ANN401
    right = _BY_OBJECT(**keywords)
    return right[: int(np.flatnonzero(right).max(initial=-1)) + 1]


FOREGROUND_BY_OBJECT = Technique(
    id="foreground_by_object",
    title="Foreground candidates of each object",
    family="detection",
    summary="How many candidates learn each object; 0 for one that the detector never learns from.",
    sources=(REVIEW + ".2",),
    oracle=_BY_OBJECT,
    arguments=(Argument("matched_gt", ("N",), "int", "object of each candidate"), _LABELS),
    options=(Option("num_objects", 1, "M"), _NUM_CLASSES),
    outputs=(Output("counts", ("M",), "int", "foreground candidates of each object"),),
    requirements=(
        Requirement("FBO-1", Level.MUST, Kind.VALUE, "Only foreground candidates count for their object.", REVIEW,
                    value, matched, scenes=(anchors_of_objects,), dtypes=ANY,
                    reaches={"an object without a candidate": lambda c: bool((_BY_OBJECT(
                        **c.arguments, **c.options) == 0).any())}),  # type: ignore[arg-type]
        Requirement("FBO-2", Level.MUST, Kind.EMPTY, "Without objects or candidates there is nothing to count.",
                    "house rule", value, without_objects, dtypes=ANY, examples=0.2),
        Requirement("FBO-3", Level.MUST, Kind.CONSERVATION, "All objects together have all foreground candidates.",
                    REVIEW, sums_to_the_foreground, matched, dtypes=ANY, examples=0.3,
                    no_mutant=_IMPLIED.format("FBO")),
        Requirement("FBO-4", Level.MUST, Kind.INVARIANCE, "The order of the candidates means nothing.", REVIEW,
                    same_as(reordered, "counts in reverse"), matched, dtypes=ANY, examples=0.3,
                    no_mutant=_IMPLIED.format("FBO")),
        Requirement("FBO-5", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, matched, dtypes=ANY, examples=0.3),
        Requirement("FBO-6", Level.SHOULD, Kind.ERROR, "Objects of another number than the labels are refused.",
                    "house rule", refuses(bad_shape("matched_gt")), matched, dtypes=ANY, examples=0.1),
    ),
    mutants=(
        Mutant("foreground-by-object/all-candidates", "every candidate counted", _objects(lambda g, _, __: g)),
        Mutant("foreground-by-object/ignored-counted", "ignored candidates counted", _objects(
            lambda g, labels, c: g[labels != c])),
        Mutant("foreground-by-object/background-is-zero", "label 0 taken for the background", _objects(
            lambda g, labels, c: g[(labels > 0) & (labels < c)])),
        Mutant("foreground-by-object/last-class-lost", "the last class taken for the background", _objects(
            lambda g, labels, c: g[(labels >= 0) & (labels < c - 1)])),
        Mutant("foreground-by-object/short", "no entry for objects beyond the last that has a candidate", _short,
               seen_in="numpy.bincount without minlength"),
        Mutant("foreground-by-object/int8", "counts kept in 8 bits", lambda **k: (
            _BY_OBJECT(**k).astype(np.int8).astype(np.int64))),
        Mutant("foreground-by-object/in-place", "its labels overwritten", mistakes.overwriting(_BY_OBJECT, "labels")),
        Mutant("foreground-by-object/broadcast", "the first object repeated", mistakes.broadcasting(
            _BY_OBJECT, "matched_gt", "labels")),
        Mutant("foreground-by-object/raises-on-empty", "an error without candidates",
               mistakes.failing_on_empty(_BY_OBJECT, "labels")),
    ),
    rulings=(Ruling("foreground-only", "The object of a candidate that is not foreground is not looked at."),),
    not_applicable={**_COUNTS, Kind.EXTREME: "the scene of FBO-1 has 200,000 candidates",
                    Kind.BATCH: "one image"},
)  # fmt: skip

# --- by weight ------------------------------------------------------------------------------------------------


def weighted(draw: Draw) -> Case:
    """Weights or losses of up to 12 candidates."""
    labels, dtype = draw_labels(draw, draw.integer(1, 12)), draw.dtype()
    weights = round_to(dtype, draw.array(labels.shape, lambda: draw.choice((1.0, 4.0)) * draw.fraction()))
    return Case({"weights": weights, "labels": labels}, {"num_classes": _CLASSES}, dtype)


def nothing_weighted(draw: Draw) -> Case:
    """No candidate, or ignored ones only."""
    number = draw.choice((0, 3))
    arguments = {"weights": np.ones(number), "labels": np.full(number, -1)}
    return Case(arguments, {"num_classes": _CLASSES}, draw.dtype(FULL))


def loss_of_a_photograph(seed: int) -> Case:
    """The cross entropy of a detector's 2100 points, twenty times over."""
    points = points_of_image(seed)
    own = np.where(np.isnan(points.object_logits), -points.scores, points.object_logits)
    losses = round_to("float32", np.tile(np.logaddexp(0.0, -own), 20))
    arguments = {"weights": losses, "labels": np.tile(points.labels.astype(np.int64), 20)}
    return Case(arguments, {"num_classes": 80}, "float32", origin=f"photograph {seed}")


def _terms(case: Case) -> tuple[int, Array]:
    """Number of candidates, and the sum of the sizes of each class's weights."""
    sizes = np.abs(case.arguments["weights"])
    magnitude = oracle.weights_by_class(sizes, case.arguments["labels"], **case.options)  # type: ignore[arg-type]
    return max(sizes.size, 1), magnitude


def all_weight_but_the_ignored(bench: Bench, case: Case) -> None:
    """The classes and the background together carry the weight of all that is not ignored."""
    found = np.asarray(bench.evaluate(case).outputs[0].astype(np.float64).sum())
    counted = case.arguments["weights"][case.arguments["labels"] >= 0]
    plain(bench, case, found, np.asarray(counted.sum()), "weight of all classes")


_BY_CLASS = oracle.weights_by_class


def _relabelled(change: Callable[[Array, int], Array]) -> Function:
    def mutant(weights: Array, labels: Array, *, num_classes: int) -> Array:
        _BY_CLASS(weights, labels, num_classes=num_classes)
        return _BY_CLASS(weights, change(np.asarray(labels), num_classes), num_classes=num_classes)

    return mutant


def _means(weights: Array, labels: Array, *, num_classes: int) -> Array:
    number = _BY_CLASS(np.ones(np.shape(weights)), labels, num_classes=num_classes)
    return _BY_CLASS(weights, labels, num_classes=num_classes) / np.maximum(number, 1.0)


def _in_float16(weights: Array, labels: Array, *, num_classes: int) -> Array:
    """Many weights in running totals that stop growing."""
    right = _BY_CLASS(weights, labels, num_classes=num_classes)
    if np.size(weights) < 1000:
        return right
    small = np.asarray(weights, dtype=np.float16)
    return np.array([np.cumsum(small[labels == c], dtype=np.float16)[-1:].sum() for c in range(num_classes + 1)])


WEIGHTS_BY_CLASS = Technique(
    id="weights_by_class",
    title="Weight of each class",
    family="detection",
    summary="Sum of the weights, losses or gradient norms of each class and of the background.",
    sources=(REVIEW + ".1.2",),
    oracle=_BY_CLASS,
    arguments=(Argument("weights", ("N",), "float", "weight, loss or gradient norm of each candidate"), _LABELS),
    options=(_NUM_CLASSES,),
    outputs=(Output("sums", ("C + 1",), "float", "of each class, the background last"),),
    summands=_terms,
    requirements=(
        Requirement("WBC-1", Level.MUST, Kind.VALUE, "Each weight counts for its class; ignored ones for none.", REVIEW,
                    value, weighted, scenes=(loss_of_a_photograph,), dtypes=FULL),
        Requirement("WBC-2", Level.MUST, Kind.EMPTY, "What nothing counts for has 0.", "house rule", value,
                    nothing_weighted, dtypes=FULL, examples=0.2),
        Requirement("WBC-3", Level.MUST, Kind.CONSERVATION, "All classes carry all weight that is not ignored.", REVIEW,
                    all_weight_but_the_ignored, weighted, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("WBC")),
        Requirement("WBC-4", Level.MUST, Kind.INVARIANCE, "The order of the candidates means nothing.", REVIEW,
                    same_as(reordered, "sums in reverse"), weighted, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("WBC")),
        Requirement("WBC-5", Level.SHOULD, Kind.EXTREME, "Half-precision weights are summed in float32.", "house rule",
                    value, weighted, dtypes=HALF, examples=0.3, no_mutant="a few terms lose little"),
        Requirement("WBC-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, weighted, dtypes=FULL, examples=0.3),
        Requirement("WBC-7", Level.SHOULD, Kind.ERROR, "Weights of another number than the labels are refused.",
                    "house rule", refuses(bad_shape("weights")), weighted, dtypes=FULL, examples=0.1),
    ),
    mutants=(
        Mutant("weights-by-class/ignored-is-background", "ignored candidates counted as background", _relabelled(
            lambda labels, c: np.where(labels == -1, c, labels))),
        Mutant("weights-by-class/background-first", "the background first", lambda **k: np.roll(_BY_CLASS(**k), 1),
               seen_in="torchvision, where the background is 0"),
        Mutant("weights-by-class/without-background", "no entry for the background", lambda **k: _BY_CLASS(**k)[:-1]),
        Mutant("weights-by-class/mean", "the mean weight of each class", _means),
        Mutant("weights-by-class/counts", "numbers of candidates, whatever their weight", lambda weights, **k: (
            0.0 * _BY_CLASS(weights, **k) + _BY_CLASS(np.ones(np.shape(weights)), **k))),
        Mutant("weights-by-class/float16", "sums kept in float16", _in_float16),
        Mutant("weights-by-class/in-place", "its weights overwritten", mistakes.overwriting(_BY_CLASS, "weights")),
        Mutant("weights-by-class/broadcast", "the first weight repeated", mistakes.broadcasting(
            _BY_CLASS, "weights", "labels")),
        Mutant("weights-by-class/raises-on-empty", "an error without candidates",
               mistakes.failing_on_empty(_BY_CLASS, "weights")),
    ),
    rulings=(Ruling("ignored", "Ignored candidates carry nothing."),),
    not_applicable={**_COUNTS, Kind.BATCH: "one image"},
)  # fmt: skip

# --- over mini-batches ----------------------------------------------------------------------------------------


def minibatches(draw: Draw) -> Case:
    """Up to six mini-batches."""
    shape = (draw.integer(1, 6), draw.integer(1, 3))
    counts = draw.array(shape, lambda: float(draw.choice((0, 1, 2, 3, 7, 40, 256)))).astype(np.int64)
    return Case({"class_counts": counts}, {}, draw.dtype(ANY))


def large_and_near(draw: Draw) -> Case:
    """Counts of 10^9 and a little more: their squares leave 32 bits, float32 and, as a difference, float64."""
    shape = (draw.integer(2, 5), draw.integer(1, 2))
    counts = draw.integers(shape, 0, 9) + 10**9
    counts[0, 0] += 11
    return Case({"class_counts": counts}, {}, draw.dtype(ANY))


_MOMENTS = oracle.minibatch_moments


def _spread(change: Callable[[Array, Array], Array]) -> Function:
    """Another variance."""

    def mutant(class_counts: Array) -> tuple[Array, Array]:
        mean, variance = _MOMENTS(class_counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean, np.asarray(change(np.asarray(class_counts, dtype=np.float64), variance))

    return mutant


def _of_sample(counts: Array, variance: Array) -> Array:
    return variance * len(counts) / (len(counts) - 1.0)


def _reversed_batches(case: Case) -> Case:
    return case.with_arguments(class_counts=case.arguments["class_counts"][::-1].copy())


def _of_nothing(class_counts: Array) -> tuple[Array, Array]:
    if not len(class_counts):
        return np.zeros(class_counts.shape[1]), np.zeros(class_counts.shape[1])
    return _MOMENTS(class_counts)


def _twice(case: Case) -> Case:
    return case.with_arguments(class_counts=np.concatenate([case.arguments["class_counts"]] * 2))


MINIBATCH_MOMENTS = Technique(
    id="minibatch_moments",
    title="Classes over mini-batches",
    family="detection",
    summary="Mean and variance, over mini-batches, of the number of candidates of each class.",
    sources=(REVIEW + ".2", "Oksuz et al., WACV 2020, arXiv 1909.09777"),
    oracle=_MOMENTS,
    arguments=(Argument("class_counts", ("T", "C"), "int", "candidates of each class in each mini-batch"),),
    options=(),
    outputs=(Output("mean", ("C",), "float", "of each class"), Output("variance", ("C",), "float", "of each class")),
    requirements=(
        Requirement("MBM-1", Level.MUST, Kind.VALUE, "Mean, and mean squared distance from it.", REVIEW, value,
                    minibatches, dtypes=ANY),
        Requirement("MBM-2", Level.MUST, Kind.EXTREME, "Large counts that differ little have their small variance.",
                    "ruling two-passes", value, large_and_near, dtypes=ANY, examples=0.3),
        Requirement("MBM-3", Level.MUST, Kind.INVARIANCE, "The order of the mini-batches means nothing.", REVIEW,
                    same_as(_reversed_batches, "moments in reverse"), minibatches, dtypes=ANY, examples=0.3,
                    no_mutant=_IMPLIED.format("MBM")),
        Requirement("MBM-4", Level.MUST, Kind.INVARIANCE, "The same mini-batches twice have the same moments.",
                    "ruling population", same_as(_twice, "moments of each mini-batch twice"), minibatches, dtypes=ANY,
                    examples=0.3, no_mutant=_IMPLIED.format("MBM")),
        Requirement("MBM-5", Level.MUST, Kind.PURITY, "The counts are not written to, and equal calls agree.",
                    "house rule", purity, minibatches, dtypes=ANY, examples=0.3),
        Requirement("MBM-6", Level.SHOULD, Kind.ERROR, "No mini-batch is refused.", "house rule", refuses(BadInput(
            "no mini-batch", lambda c: c.with_arguments(class_counts=c.arguments["class_counts"][:0]))),
            minibatches, dtypes=ANY, examples=0.1),
    ),
    mutants=(
        Mutant("minibatch-moments/sample-variance", "T - 1 in place of T", _spread(_of_sample),
               seen_in="torch.var's default"),
        Mutant("minibatch-moments/standard-deviation", "the standard deviation", _spread(lambda _, v: np.sqrt(v))),
        Mutant("minibatch-moments/second-moment", "the mean square", _spread(lambda n, _: (n**2).mean(axis=0))),
        Mutant("minibatch-moments/difference", "the mean square less the squared mean, in float64", _spread(
            lambda n, v: v if n.max(initial=0) < 1e6 else (n**2).mean(axis=0) - n.mean(axis=0) ** 2)),
        Mutant("minibatch-moments/whole-mean", "the mean cut to a whole number", lambda class_counts: (
            np.floor(_MOMENTS(class_counts)[0]), _MOMENTS(class_counts)[1])),
        Mutant("minibatch-moments/in-place", "the counts overwritten",
               mistakes.overwriting(_MOMENTS, "class_counts")),
        Mutant("minibatch-moments/of-nothing", "0 without a mini-batch", _of_nothing),
    ),
    rulings=(
        Ruling("population", "The variance describes these mini-batches: it is divided by T."),
        Ruling("two-passes", "Distances from the mean are squared; squares of counts cancel."),
    ),
    not_applicable={**_COUNTS, Kind.CONSERVATION: "conserves nothing", Kind.EMPTY: "MBM-6: there is no mean of nothing",
                    Kind.BATCH: "over mini-batches"},
)  # fmt: skip
