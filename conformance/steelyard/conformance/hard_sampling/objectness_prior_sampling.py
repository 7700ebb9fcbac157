"""Contract of RON's sample: what the objectness prior leaves, three random negatives to each positive.

Kong et al., "RON", CVPR 2017 (arXiv 1707.01691), and the authors' layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
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
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.draw_laws import counts, frequencies, independent_pools, systematic_keys
from steelyard.conformance.hard_sampling.limit_search_space import CLASSES, draw_candidates, reversed_candidates
from steelyard.conformance.hard_sampling.real_proposals import (
    REAL_CLASSES,
    keys_with_ties,
    real_candidates,
    real_objectness,
)
from steelyard.conformance.precision import Float
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import limit_search_space as oracle
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

_FULL = ("float32", "float64")

# --- inputs: objectness in odd multiples of 1/64 and thresholds in even ones, or 0.03; keys in multiples of 1/64 ---


def distinct_keys(draw: Draw) -> Case:
    """Candidates with keys, no two of an image equal; the shares leave whole negatives and fractions."""
    shape = (draw.integer(1, 3), draw.integer(1, 12))
    keys = np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable") / 64.0
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES,
        "threshold": draw.choice((0.25, 0.03, 0.5, 0.0)),
        "positive_fraction": draw.choice((0.25, 0.5, 0.4, 1.0)),
        "negatives_without_positives": draw.choice((2, 4, 0)),
    }
    return Case({**draw_candidates(draw, shape), "keys": keys}, options, draw.dtype())


def threshold_with_keys(draw: Draw) -> Case:
    """Objectness of exactly the threshold, with keys."""
    case = distinct_keys(draw)
    threshold = draw.choice((0.25, 0.5, 0.03125))
    objectness = np.where(case.arguments["objectness"] < 0.5, threshold, 1 / 64)
    return case.with_arguments(objectness=objectness).with_options(threshold=threshold)


def equal_keys(draw: Draw) -> Case:
    """Candidates with few different keys."""
    case = distinct_keys(draw)
    return case.with_arguments(keys=np.floor(case.arguments["keys"] * 16.0) / 16.0)


def without_positives(draw: Draw) -> Case:
    """No positive that is kept, or no candidate."""
    shape = (draw.integer(1, 2), draw.choice((6, 3, 0)))
    labels = np.broadcast_to(np.where(np.arange(shape[1]) % 3 == 0, 1, CLASSES), shape).copy()
    objectness = np.where(labels == 1, 1 / 64, 0.515625)
    keys = np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy()
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "threshold": 0.25, "positive_fraction": 0.25,
        "negatives_without_positives": draw.choice((2, 1, 0, 9)),
    }  # fmt: skip
    return Case({"labels": labels, "objectness": objectness, "keys": keys}, options, draw.dtype())


def something_to_choose(draw: Draw) -> Case:
    """Two positives and a third one that is left out; six of nine negatives, and three that are left out."""
    number = draw.choice((9, 12))
    labels = np.repeat([0, 1, CLASSES], [2, 1, number + 3])[None]
    objectness = np.where(np.arange(labels.size) % 5 == 2, 1 / 64, 0.515625)[None]
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "threshold": 0.25, "positive_fraction": 0.25, "negatives_without_positives": 2,
    }  # fmt: skip
    keys = np.zeros(labels.shape)
    return Case({"labels": labels, "objectness": objectness, "keys": keys}, options, draw.dtype())


def real_image(seed: int) -> Case:
    """The proposals and objects of a photograph; the best score as objectness, a float16 number with ties."""
    labels, objectness = real_candidates(seed).labels[None], real_objectness(seed)[None]
    options: dict[str, OptionValue] = {
        "num_classes": REAL_CLASSES, "threshold": 0.25, "positive_fraction": 0.25, "negatives_without_positives": 64,
    }  # fmt: skip
    arguments = {"labels": labels, "objectness": objectness, "keys": keys_with_ties(seed, labels.shape)}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def anchors(seed: int) -> Case:
    """Two images of 20,000 anchors, two in a hundred of enough objectness."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    labels = np.where(random.random(shape) < 2e-3, random.integers(0, CLASSES, shape), CLASSES)
    objectness = (2.0 * np.floor(random.beta(0.1, 4.0, shape) * 512.0) + 1.0) / 1024.0
    keys = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) / 2.0**15
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "threshold": 0.03, "positive_fraction": 0.25, "negatives_without_positives": 256,
    }  # fmt: skip
    arguments = {"labels": labels, "objectness": objectness, "keys": keys}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def _probabilities(case: Case) -> tuple[Float, Float]:
    """Of a case of one image."""
    labels, kept = case.arguments["labels"][0], case.arguments["objectness"][0] >= option(case, "threshold")
    positive = kept & (labels >= 0) & (labels < option(case, "num_classes"))
    negative, fraction = kept & (labels == case.options["num_classes"]), option(case, "positive_fraction")
    p = int(positive.sum())
    wanted = int(np.ceil(p * (1.0 - fraction) / fraction)) if p else int(option(case, "negatives_without_positives"))
    return independent_pools((positive, p), (negative, min(wanted, int(negative.sum()))))


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]
Masks = tuple[Array, Array]


def _sampler(
    *,
    keeps: Callable[[Array, float], Array] = lambda objectness, threshold: objectness >= threshold,
    filters_positives: bool = True,
    rounded: Callable[[float], int] = math.ceil,
    counts_all_positives: bool = False,
    batch: Callable[[int], int] = lambda number: number,
    draws_first: bool = False,
    ignored_too: bool = False,
    order: Callable[[Array], Array] = lambda keys: keys,
) -> Function:
    """The specification told again, with some of it wrong, after its checks."""

    def function(labels: Array, objectness: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
        oracle.objectness_prior_sampling(labels, objectness, keys, **o)
        label, f = np.asarray(labels), o["positive_fraction"]
        kept = keeps(np.asarray(objectness, dtype=np.float64), o["threshold"])
        foreground = (label >= 0) & (label < o["num_classes"])
        background = (label == o["num_classes"]) | (ignored_too & (label == -1))
        positive = foreground & kept if filters_positives else foreground
        negative = np.zeros(label.shape, bool)
        for b in np.ndindex(label.shape[:-1]):
            p = int((foreground if counts_all_positives else positive)[b].sum())
            number = rounded(p * (1.0 - f) / f) if p else batch(o["negatives_without_positives"])
            pool = background[b] if draws_first else background[b] & kept[b]
            negative[b] = smallest_keys(order(np.asarray(keys, dtype=np.float64)[b]), pool, number) & kept[b]
        return positive, negative

    return function


def _reshaped(change: Callable[[Array], Array], undo: Callable[[Array, Array], Array]) -> Function:
    """The right sampler on changed arrays."""

    def function(labels: Array, objectness: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
        found = oracle.objectness_prior_sampling(change(labels), change(objectness), change(keys), **o)
        return undo(found.positive, keys), undo(found.negative, keys)

    return function


def _first_only(labels: Array, objectness: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
    kept = np.where(np.arange(np.shape(labels)[-1]) < 16_384, labels, -1)
    return oracle.objectness_prior_sampling(kept, objectness, keys, **o)


def _own_keys(change: Callable[[Array, Array], Array]) -> Function:
    """A sampler that draws its own keys; only its distribution can be judged."""
    random = np.random.default_rng(17_070_169)

    def draw(labels: Array, objectness: Array, **o: Any) -> Masks:  # noqa: ANN401
        groups = np.asarray(labels) + np.asarray(objectness, dtype=np.float64)
        return oracle.objectness_prior_sampling(labels, objectness, change(random.random(groups.shape), groups), **o)

    return draw


def _favouring_the_last(keys: Array, _: Array) -> Array:
    return np.where(np.arange(keys.shape[-1]) == keys.shape[-1] - 1, keys**1.5, keys)


_RIGHT = oracle.objectness_prior_sampling
MUTANTS = (
    Mutant("objectness-prior/open", "an objectness of the threshold left out",
           _sampler(keeps=lambda objectness, threshold: objectness > threshold)),
    Mutant("objectness-prior/of-the-background", "the threshold on the probability of the background",
           _sampler(keeps=lambda objectness, threshold: 1.0 - objectness >= threshold)),
    Mutant("objectness-prior/positives-kept", "positives kept whatever their objectness",
           _sampler(filters_positives=False)),
    Mutant("objectness-prior/number-before", "the number of negatives from the positives before filtering",
           _sampler(counts_all_positives=True)),
    Mutant("objectness-prior/drawn-before", "negatives drawn first and filtered then", _sampler(draws_first=True)),
    Mutant("objectness-prior/cut-number", "a fraction of a negative dropped", _sampler(rounded=int)),
    Mutant("objectness-prior/none-without-positives", "no negatives where no positive is left",
           _sampler(batch=lambda _: 0)),
    Mutant("objectness-prior/ignored-drawn", "ignored candidates drawn", _sampler(ignored_too=True)),
    Mutant("objectness-prior/largest-keys", "the largest keys instead of the smallest",
           _sampler(order=lambda keys: -keys)),
    Mutant("objectness-prior/last-of-equal-keys", "of equal keys the last candidate's",
           _reshaped(lambda a: a[..., ::-1], lambda a, _: a[..., ::-1])),
    Mutant("objectness-prior/whole-batch", "one number for the whole batch",
           _reshaped(np.ravel, lambda a, like: a.reshape(np.shape(like))), seen_in="RON's own layers"),
    Mutant("objectness-prior/first-candidates-only", "candidates beyond the 16,384th never drawn", _first_only),
    Mutant("objectness-prior/favours-the-last", "a bias towards the last candidate", _own_keys(_favouring_the_last),
           draws_own_keys=True),
    Mutant("objectness-prior/systematic", "neighbours drawn together", _own_keys(systematic_keys),
           draws_own_keys=True),
    Mutant("objectness-prior/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("objectness-prior/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, threshold=lambda v: min(max(v, 0.0), 1.0), positive_fraction=lambda v: v or 1.0)),
    Mutant("objectness-prior/broadcast", "labels repeated for another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "keys")),
    Mutant("objectness-prior/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "keys")),
    Mutant("objectness-prior/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by OPS-1; kept because a failure then names the law that is broken"

OBJECTNESS_PRIOR_SAMPLING = Technique(
    id="objectness_prior_sampling",
    title="Random sampling behind an objectness prior",
    family="hard_sampling",
    summary="All positives of enough objectness, and random such negatives in proportion to them.",
    sources=('Kong et al., "RON: Reverse Connection with Objectness Prior Networks", CVPR 2017, arXiv 1707.01691',),
    oracle=oracle.objectness_prior_sampling,
    arguments=(
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore or padding"),
        Argument("objectness", ("...", "N"), "float", "probability of any object, in [0, 1]; a constant"),
        Argument("keys", ("...", "N"), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("threshold", 0.03, "kept from here on"),
        Option("positive_fraction", 0.25, "share of positives"),
        Option("negatives_without_positives", 256, "number of negatives where no positive is left"),
    ),
    outputs=(
        Output("positive", ("...", "N"), "bool", "positives of the sample"),
        Output("negative", ("...", "N"), "bool", "negatives of the sample"),
    ),
    requirements=(
        Requirement("OPS-1", Level.MUST, Kind.VALUE,
                    "Of what is left, all positives and the negatives with the smallest keys.",
                    "section 3; explicit keys are ours", value, distinct_keys, scenes=(anchors, real_image),
                    dtypes=_FULL, needs_keys=True,
                    reaches={"a positive left out": lambda c: bool(
                        ((c.arguments["labels"] == 0) & (c.arguments["objectness"] < option(c, "threshold"))).any())}),
        Requirement("OPS-2", Level.MUST, Kind.BOUND, "As many negatives as the positives that are left ask for.",
                    "section 3", counts(_probabilities), distinct_keys, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by OPS-1 for candidates with keys; exact for those without"),
        Requirement("OPS-3", Level.MUST, Kind.TIES, "An objectness of the threshold is kept.", "ruling threshold",
                    value, threshold_with_keys, dtypes=_FULL, needs_keys=True),
        Requirement("OPS-4", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties", value,
                    equal_keys, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("OPS-5", Level.MUST, Kind.EMPTY, "Without a positive that is left, a number of negatives.",
                    "authors' code", value, without_positives, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("OPS-6", Level.MUST, Kind.DISTRIBUTION, "Every negative that is left is as likely as any other.",
                    "section 3", frequencies(_probabilities), something_to_choose, dtypes=_FULL, examples=0.03,
                    no_mutant="a sampler that favours a candidate favours its pairs, which OPS-7 sees too"),
        Requirement("OPS-7", Level.MUST, Kind.DISTRIBUTION, "Every pair is drawn together as often as it must be.",
                    "section 3", frequencies(_probabilities, of_pairs=True), something_to_choose, dtypes=_FULL,
                    examples=0.03),
        Requirement("OPS-8", Level.MUST, Kind.BATCH, "Each image has its own numbers.", "ruling per-image",
                    batch_equals_per_image, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("OPS-9", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, objectness=0.0, keys=0.0), distinct_keys, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OPS-10", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders the sample.",
                    "explicit keys", same_as(reversed_candidates, "sample of the reordered image",
                                             lambda output, _: output[..., ::-1]),
                    distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OPS-11", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal samples.",
                    "house rule", purity, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("OPS-12", Level.SHOULD, Kind.ERROR, "Labels of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("OPS-13", Level.MAY, Kind.ERROR, "A threshold outside [0, 1], and a share of 0, are refused.",
                    "house rule", refuses(bad_option("threshold", 1.5), bad_option("positive_fraction", 0.0)),
                    distinct_keys, dtypes=_FULL, examples=0.2),
        Requirement("OPS-14", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.5),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("threshold", "Kept is an objectness of exactly the threshold: the code drops what is strictly below."),
        Ruling("number", "A fraction of a negative counts as one: the code cuts the number of those it switches off."),
        Ruling("per-image", "The numbers are those of one image; the authors' code has those of the mini-batch."),
        Ruling("ties", "Of equal keys the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "OPS-1 has a threshold of 0, which leaves out nothing", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "OPS-2 counts what is drawn",
        Kind.EXTREME: "objectness and keys are plain numbers in [0, 1]",
    },
)  # fmt: skip
