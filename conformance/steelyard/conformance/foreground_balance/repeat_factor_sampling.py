"""Contracts of repeat-factor sampling: factors of images, and how often each comes in an epoch.

Gupta, Dollar, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019 (arXiv 1908.03195),
appendix B.2.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    padding,
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
    Dialect,
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
from steelyard.conformance.statistics import Suspicion, categories, uniform_keys
from steelyard.reference.foreground_balance import repeat_factor_sampling as oracle

_FULL = ("float32", "float64")
_CLASSES = 4
_REPETITIONS = 4000
_LVIS = "Gupta, Dollar, Girshick, LVIS, CVPR 2019, arXiv 1908.03195, appendix B.2"
Function = Callable[..., Any]

# --- factors: inputs ------------------------------------------------------------------------------------------


def _threshold_options(draw: Draw) -> dict[str, OptionValue]:
    return {
        "num_classes": _CLASSES,
        "threshold": draw.choice((0.9, 0.5, 2.0, 0.1, 0.0)),
        "square_root": not draw.flag(25),
    }


def small_data_sets(draw: Draw) -> Case:
    """One to eight images with up to four objects each, class 0 in most; some rows are short, some classes absent."""
    shape = (draw.integer(1, 8), draw.integer(1, 4))
    labels = draw.array(shape, lambda: float(draw.choice((0, 0, -1, 1, 2, 0)))).astype(np.int64)
    return Case({"labels": labels}, _threshold_options(draw), draw.dtype(_FULL))


def at_the_threshold(draw: Draw) -> Case:
    """Two classes whose shares of the images are the threshold itself, just above it, or just below."""
    images = draw.choice((4, 8, 16))
    labels = np.full((images, 2), -1)
    for c, more in enumerate(draw.choice(((0, 0), (1, 1), (0, 1), (0, -1), (1, -1)))):
        labels[: images // 2 + more, c] = c
    options = {**_threshold_options(draw), "num_classes": 2, "threshold": 0.5}
    return Case({"labels": labels}, options, draw.dtype(_FULL))


def without_objects(draw: Draw) -> Case:
    """Images without objects, rows without places, or no image."""
    shape = draw.choice(((3, 2), (2, 0), (0, 3)))
    return Case({"labels": np.full(shape, -1)}, _threshold_options(draw), draw.dtype(_FULL))


def long_tail(seed: int) -> Case:
    """5,000 images over 400 classes whose frequencies follow a power law: many classes are in less than 50."""
    random = np.random.default_rng(seed)
    labels = (400 * random.power(0.25, (5_000, 8))).astype(np.int64)
    labels[random.random(labels.shape) < 0.3] = -1
    options: dict[str, OptionValue] = {"num_classes": 400, "threshold": 0.01, "square_root": True}
    return Case({"labels": labels}, options, "float64", origin=f"scene {seed}")


def _in_one_image(case: Case) -> bool:
    labels = case.arguments["labels"]
    return any((labels == c).any(axis=1).sum() == 1 for c in range(_CLASSES))


def _a_class_twice(case: Case) -> bool:
    labels = case.arguments["labels"]
    return any(((labels == c).sum(axis=1) > 1).any() for c in range(_CLASSES))


def _no_object(case: Case) -> bool:
    return bool((case.arguments["labels"] < 0).all(axis=1).any())


def objects_named_twice(case: Case) -> Case:
    """Every object once more: as many images of each class."""
    labels = case.arguments["labels"]
    return case.with_arguments(labels=np.concatenate([labels, labels], axis=1))


def renamed_classes(case: Case) -> Case:
    """Class c is called C - 1 - c."""
    labels = case.arguments["labels"]
    return case.with_arguments(labels=np.where(labels >= 0, _CLASSES - 1 - labels, -1))


def twice_the_images(case: Case) -> Case:
    """The data set and a copy of it."""
    labels = case.arguments["labels"]
    return case.with_arguments(labels=np.concatenate([labels, labels]))


def _first_half(factors: Array, _: Case) -> Array:
    return factors[: len(factors) // 2]


def _not_below_1(bench: Bench, case: Case) -> None:
    lowest = float(np.min(bench.evaluate(case).outputs[0], initial=1.0))
    bench.expect(lowest >= 1.0, f"the smallest factor is {lowest}, expected at least 1", case)


# --- factors: mutants -----------------------------------------------------------------------------------------


def _factors(factor: Callable[[Array, float], Array], combine: Callable[[Array, Array], Array] | None = None,
             share: Callable[[Array, Array], Array] | None = None) -> Function:  # fmt: skip
    """Factors from other shares, another factor of a class, another way to combine them: labels -> (N,)."""

    def mutant(labels: Array, *, num_classes: int, threshold: float, square_root: bool) -> Array:
        oracle.image_repeat_factors(labels, num_classes=num_classes, threshold=threshold, square_root=square_root)
        contains = (np.asarray(labels)[:, :, np.newaxis] == np.arange(num_classes)).any(axis=1)
        images = contains.sum(axis=0) if share is None else share(np.asarray(labels), np.arange(num_classes))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(images > 0, threshold * len(labels) / np.maximum(images, 1), 0.0)
            of_class = factor(np.sqrt(ratio) if square_root else ratio, ratio)  # type: ignore[arg-type]
        if combine is not None:
            return combine(contains, of_class)
        return np.asarray(np.where(contains, of_class, 1.0).max(axis=1, initial=1.0))

    return mutant


def _right_factor(root: Array, _: Any) -> Array:  # noqa: ANN401
    return np.maximum(1.0, root)


def _mean(contains: Array, of_class: Array) -> Array:
    number = contains.sum(axis=1)
    return np.asarray(np.where(number > 0, (contains * of_class).sum(axis=1) / np.maximum(number, 1), 1.0))


def _labelled_images_only(labels: Array, **options: Any) -> Array:  # noqa: ANN401
    factors = oracle.image_repeat_factors(labels, **options)
    with_objects = (np.asarray(labels) >= 0).any(axis=1)
    if with_objects.any():
        factors[with_objects] = oracle.image_repeat_factors(np.asarray(labels)[with_objects], **options)
    return factors


def _first_objects_only(labels: Array, **options: Any) -> Array:  # noqa: ANN401
    return np.asarray(oracle.image_repeat_factors(np.asarray(labels)[:, :6], **options))


def _raising_without_objects(labels: Array, **options: Any) -> Array:  # noqa: ANN401
    for image in np.asarray(labels).tolist():
        max(c for c in image if c >= 0)
    return np.asarray(oracle.image_repeat_factors(labels, **options))


_RIGHT = oracle.image_repeat_factors
FACTOR_MUTANTS = (
    Mutant("repeat-factors/instances", "shares of instances, not of images", _factors(
        _right_factor, share=lambda labels, c: (labels[:, :, np.newaxis] == c).sum(axis=(0, 1)))),
    Mutant("repeat-factors/sum", "the sum over the classes of an image", _factors(
        _right_factor, lambda contains, of_class: np.maximum(1.0, (contains * of_class).sum(axis=1)))),
    Mutant("repeat-factors/mean", "the mean over the classes of an image", _factors(_right_factor, _mean)),
    Mutant("repeat-factors/no-root", "no square root", _factors(lambda _, ratio: np.maximum(1.0, ratio))),
    Mutant("repeat-factors/at-most-one", "min for max", _factors(lambda root, _: np.minimum(1.0, root), lambda contains,
           of_class: np.where(contains, of_class, 1.0).min(axis=1, initial=1.0))),
    Mutant("repeat-factors/inverted", "share by threshold", _factors(
        lambda root, _: np.maximum(1.0, 1.0 / np.maximum(root, 1e-6)))),
    Mutant("repeat-factors/labelled-images-only", "shares of the images that have objects", _labelled_images_only,
           seen_in="pipelines that drop images without objects first"),
    Mutant("repeat-factors/not-repeated-at-the-threshold", "from the threshold on", _factors(
        lambda root, ratio: np.where(ratio >= 1.0, np.maximum(root, 1.0 + 1e-3), 1.0))),
    Mutant("repeat-factors/six-objects", "objects beyond the sixth of an image left out", _first_objects_only),
    Mutant("repeat-factors/raises-without-objects", "the maximum of nothing", _raising_without_objects),
    Mutant("repeat-factors/in-place", "its input overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("repeat-factors/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, threshold=mistakes.at_least_0)),
    Mutant("repeat-factors/one-image", "labels without an axis of images taken as one image",
           lambda labels, **o: _RIGHT(np.atleast_2d(labels), **o)),
)  # fmt: skip

# --- counts: inputs -------------------------------------------------------------------------------------------


def factors_and_keys(draw: Draw) -> Case:
    """Up to eight images with factors to 4, in quarters and tenths; keys clear of their fractions."""
    shape = (draw.integer(1, 8),)
    factors = 1.0 + draw.array(shape, lambda: draw.choice((0.25, 0.0, 1.5, 0.1, 2.9, 3.0, 0.75)))
    keys = draw.array(shape, lambda: draw.choice((0.05, 0.2, 0.6, 0.8, 0.99, 0.4)))
    return _rounded(factors, keys, draw)


def rounded_up(draw: Draw) -> Case:
    """The same, rounded up."""
    return factors_and_keys(draw).with_options(rounding="ceil")


def keys_at_the_fraction(draw: Draw) -> Case:
    """Keys equal to the fraction of a factor, in eighths, which every format has; whole factors with keys of 0."""
    eighths = draw.integers((draw.integer(1, 6),), 0, 7) / 8.0
    return _rounded(draw.choice((1.0, 2.0, 5.0)) + eighths, eighths, draw)


def _rounded(factors: Array, keys: Array, draw: Draw) -> Case:
    dtype = draw.dtype(_FULL)
    arguments = {"repeat_factors": factors, "keys": keys}
    return Case({name: a.astype(dtype).astype(np.float64) for name, a in arguments.items()},
                {"rounding": "stochastic"}, dtype)  # fmt: skip


def no_image(draw: Draw) -> Case:
    """A data set without images."""
    return _rounded(np.zeros(0), np.zeros(0), draw)


def one_image(draw: Draw) -> Case:
    """One image that has to come more than once, for the test of distribution."""
    return _rounded(np.array([draw.choice((1.3, 2.236, 1.75, 1.05))]), np.zeros(1), draw)


def _law(bench: Bench, case: Case) -> None:
    """Its count is the floor or one more, as often as the fraction says."""
    if bench.dialect is not None and bench.dialect.options.get("rounding") == "ceil":
        value(bench, case)
        return
    factor = float(case.arguments["repeat_factors"][0])
    whole = int(factor)

    def test(seed: int) -> Suspicion:
        keys = uniform_keys((_REPETITIONS,), seed, np.float32).astype(np.float64)
        many = case.with_arguments(repeat_factors=np.full(_REPETITIONS, factor), keys=keys)
        found = bench.attempt(many).outputs[0].astype(np.int64)
        tally = np.array([(found == whole).sum(), (found == whole + 1).sum()])
        if tally.sum() != len(found):
            return Suspicion(0.0, f"counts {np.unique(found).tolist()}, expected {whole} or {whole + 1}")
        return categories(tally, np.array([1.0 - (factor - whole), factor - whole]))

    bench.expect_distribution(case, test, zlib.crc32(case.arguments["repeat_factors"].tobytes()))


def _counts(count: Callable[[Array, Array], Array]) -> Function:
    def mutant(repeat_factors: Array, keys: Array, *, rounding: str) -> Array:
        right = oracle.repeat_counts(repeat_factors, keys, rounding=rounding)
        if rounding == "ceil":
            return right
        return np.asarray(count(np.asarray(repeat_factors), np.asarray(keys))).astype(np.int64)

    return mutant


def _own_keys(keys_of: Callable[[Array], Array]) -> Function:
    """Random numbers of its own; only the distribution of its counts can be judged."""

    def mutant(repeat_factors: Array, *, rounding: str) -> Array:
        random = np.random.default_rng(len(repeat_factors))
        return oracle.repeat_counts(repeat_factors, keys_of(random.random(np.shape(repeat_factors))), rounding=rounding)

    return mutant


_RIGHT_COUNTS = oracle.repeat_counts
COUNT_MUTANTS = (
    Mutant("repeat-counts/nearest", "rounded to the nearest number", _counts(lambda r, _: np.rint(r))),
    Mutant("repeat-counts/cut", "cut to a whole number", _counts(lambda r, _: np.floor(r))),
    Mutant("repeat-counts/up", "rounded up", _counts(lambda r, _: np.ceil(r)),
           seen_in="mmengine's ClassBalancedDataset (a dialect)"),
    Mutant("repeat-counts/key-at-the-fraction", "one more also at a key equal to the fraction",
           _counts(lambda r, u: np.floor(r) + (u <= r - np.floor(r)))),
    Mutant("repeat-counts/other-end", "one more above 1 less the fraction: the same law, other keys",
           _counts(lambda r, u: np.floor(r) + (u >= 1.0 - (r - np.floor(r))))),
    Mutant("repeat-counts/shifted-keys", "keys moved by a sixteenth around the circle: the same law, other keys",
           _counts(lambda r, u: np.floor(r) + ((u + 0.0625) % 1.0 < r - np.floor(r)))),
    Mutant("repeat-counts/complement", "one more with the probability of not",
           _counts(lambda r, u: np.floor(r) + (u >= r - np.floor(r)))),
    Mutant("repeat-counts/always-at-random", "rounded by the keys also where up is asked for",
           mistakes.unchecked(_RIGHT_COUNTS, rounding=lambda name: "stochastic" if name == "ceil" else name)),
    Mutant("repeat-counts/biased", "keys that lean to 0, of its own", _own_keys(lambda u: u**1.3),
           draws_own_keys=True),
    Mutant("repeat-counts/always-the-same", "one key for all of its own", _own_keys(lambda u: np.full(u.shape, 0.2)),
           draws_own_keys=True),
    Mutant("repeat-counts/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_COUNTS, "keys")),
    Mutant("repeat-counts/broadcast", "keys repeated for another number of images",
           mistakes.broadcasting(_RIGHT_COUNTS, "keys", "repeat_factors")),
    Mutant("repeat-counts/raises-on-empty", "an error where there is no image",
           mistakes.failing_on_empty(_RIGHT_COUNTS, "keys")),
    Mutant("repeat-counts/unchecked", "any name of a rounding taken for the paper's", mistakes.unchecked(
        _RIGHT_COUNTS, rounding=lambda name: name if name in oracle.ROUNDINGS else "stochastic")),
)  # fmt: skip

# --- contracts ------------------------------------------------------------------------------------------------

_NOT_FOR_DATA = {
    Kind.GRADIENT: "a schedule has no gradient", Kind.DETACHED: "a schedule has no gradient",
    Kind.BATCH: "a data set is the unit", Kind.EXTREME: "shares and counts are plain numbers",
}  # fmt: skip

IMAGE_REPEAT_FACTORS = Technique(
    id="image_repeat_factors",
    title="Repeat factors of images",
    family="foreground_balance",
    summary="How often each image is to come in an epoch, by the rarest class that it contains.",
    sources=(_LVIS,),
    oracle=_RIGHT,
    arguments=(Argument("labels", ("N", "M"), "int", "0..C-1 classes of an image's objects; -1 fills up"),),
    options=(
        Option("num_classes", 1203, "C"),
        Option("threshold", 0.001, "share of the images from which on a class is not repeated"),
        Option("square_root", True, "False: the threshold by the share itself"),
    ),
    outputs=(Output("repeat_factors", ("N",), "float", ">= 1"),),
    requirements=(
        Requirement("RFS-1", Level.MUST, Kind.VALUE, "The factor of an image is the largest of its classes'.", _LVIS,
                    value, small_data_sets, scenes=(long_tail,), dtypes=_FULL,
                    reaches={"a class in one image only": _in_one_image,
                             "a class twice in an image": _a_class_twice,
                             "an image without objects": _no_object}),
        Requirement("RFS-2", Level.MUST, Kind.TIES, "A class whose share is the threshold is not repeated.",
                    "appendix B.2", value, at_the_threshold, dtypes=_FULL, examples=0.3,
                    no_mutant="shares of small data sets meet the threshold by chance; here they do on purpose"),
        Requirement("RFS-3", Level.MUST, Kind.EMPTY, "Images without objects have the factor 1.", "ruling empty", value,
                    without_objects, dtypes=_FULL, examples=0.2,
                    no_mutant="small data sets have such images by chance; here there is nothing else"),
        Requirement("RFS-4", Level.MUST, Kind.BOUND, "No factor is below 1.", "appendix B.2", _not_below_1,
                    small_data_sets, dtypes=_FULL, examples=0.3, no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-5", Level.MUST, Kind.INVARIANCE, "A class counts once an image.", "ruling images",
                    same_as(objects_named_twice, "factors with every object twice"), small_data_sets, dtypes=_FULL,
                    examples=0.3, no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-6", Level.MUST, Kind.INVARIANCE, "Other names of the classes change nothing.", "appendix B.2",
                    same_as(renamed_classes, "factors with other names"), small_data_sets, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-7", Level.MUST, Kind.INVARIANCE, "The data set twice has the same factors.", "appendix B.2",
                    same_as(twice_the_images, "factors of the data set twice", _first_half), small_data_sets,
                    dtypes=_FULL, examples=0.3, no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-8", Level.MUST, Kind.INVARIANCE, "Images in another order have their factors in that order.",
                    "appendix B.2", permutation, small_data_sets, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-9", Level.MUST, Kind.INVARIANCE, "Further places without an object change nothing.",
                    "padding", padding(1, labels=-1), small_data_sets, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by RFS-1; names the law"),
        Requirement("RFS-10", Level.MUST, Kind.PURITY, "The input is not written to, and equal calls agree.",
                    "house rule", purity, small_data_sets, dtypes=_FULL, examples=0.3),
        Requirement("RFS-11", Level.SHOULD, Kind.ERROR, "Labels without an axis of images are refused.", "house rule",
                    refuses(without_axes("labels")), small_data_sets, dtypes=_FULL, examples=0.1),
        Requirement("RFS-12", Level.MAY, Kind.ERROR, "A negative threshold is refused.", "house rule",
                    refuses(bad_option("threshold", -0.5)), small_data_sets, dtypes=_FULL, examples=0.1),
    ),
    mutants=FACTOR_MUTANTS,
    rulings=(
        Ruling("images", "Frequency counts images, each once a class, not instances; all images are the whole, also"
               " those without objects (libraries that drop them first have other shares)."),
        Ruling("empty", "An image without objects has the factor 1; an absent class has none."),
    ),
    not_applicable={
        **_NOT_FOR_DATA, Kind.REDUCES_TO: "a threshold of 0 is among the inputs of RFS-1: all factors are 1",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "the length of an epoch is what it is",
        Kind.DISTRIBUTION: "the factors are not random; the counts made of them are",
    },
)  # fmt: skip

REPEAT_COUNTS = Technique(
    id="repeat_counts",
    title="Repeats of images in an epoch",
    family="foreground_balance",
    summary="Repeat factors rounded to whole numbers at random, so that their mean is kept.",
    sources=(_LVIS,),
    oracle=_RIGHT_COUNTS,
    arguments=(
        Argument("repeat_factors", ("N",), "float", ">= 1"),
        Argument("keys", ("N",), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(Option("rounding", "stochastic", "or ceil: up, without luck"),),
    outputs=(Output("counts", ("N",), "int", ">= 1"),),
    requirements=(
        Requirement("RPT-1", Level.MUST, Kind.VALUE, "One more than the floor where the key is below the fraction.",
                    "detectron2; explicit keys are ours", value, factors_and_keys, dtypes=_FULL, needs_keys=True),
        Requirement("RPT-2", Level.MUST, Kind.TIES, "A key equal to the fraction is not below it.", "ruling strict",
                    value, keys_at_the_fraction, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("RPT-3", Level.MUST, Kind.EMPTY, "No image, no count.", "house rule", value, no_image,
                    dtypes=_FULL, needs_keys=True, examples=0.1),
        Requirement("RPT-4", Level.MUST, Kind.DISTRIBUTION, "The mean count is the factor: floor or one more.",
                    "appendix B.2", _law, one_image, dtypes=_FULL, examples=0.03),
        Requirement("RPT-5", Level.MUST, Kind.INVARIANCE, "Images in another order have their counts in that order.",
                    "explicit keys", permutation, factors_and_keys, dtypes=_FULL, needs_keys=True, examples=0.2,
                    no_mutant="implied by RPT-1; names the law"),
        Requirement("RPT-6", Level.MUST, Kind.PURITY, "The inputs are not written to; equal keys give equal counts.",
                    "house rule", purity, factors_and_keys, dtypes=_FULL, needs_keys=True, examples=0.2),
        Requirement("RPT-7", Level.SHOULD, Kind.ERROR, "Keys of another number than the images are refused.",
                    "house rule", refuses(bad_shape("keys")), factors_and_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.1),
        Requirement("RPT-8", Level.MAY, Kind.ERROR, "An unknown rounding is refused.", "house rule",
                    refuses(bad_option("rounding", "nearest")), factors_and_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.1),
        Requirement("RPT-9", Level.MUST, Kind.VALUE, "Rounded up, every factor that is not whole counts one more.",
                    "mmengine's ClassBalancedDataset", value, rounded_up, dtypes=_FULL, options=("rounding",),
                    needs_keys=True, examples=0.3),
    ),
    mutants=COUNT_MUTANTS,
    dialects=(
        Dialect("ceil", "rounded up once for all, without luck: repeats too often on average", {"rounding": "ceil"}),
    ),
    rulings=(
        Ruling("strict", "The key must be below the fraction: a whole factor is never exceeded."),
    ),
    not_applicable={
        **_NOT_FOR_DATA, Kind.REDUCES_TO: "whole factors, which leave no choice, are among the inputs of RPT-2",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "the mean is what RPT-4 judges",
        Kind.BOUND: "RPT-4: floor or one more",
    },
)  # fmt: skip
