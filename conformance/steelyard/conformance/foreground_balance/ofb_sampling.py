"""Contract of online foreground balanced (OFB) sampling.

Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors", WACV 2020
(arXiv 1909.09777).
"""

from __future__ import annotations

import zlib
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
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.draw_laws import counts, frequencies, numbers_in_group
from steelyard.conformance.precision import Float
from steelyard.reference import class_count_distribution, foreground_balanced_probabilities
from steelyard.reference.foreground_balance import ofb_sampling as oracle

_FULL = ("float32", "float64")
_CLASSES = 3
_APART = 0.05
"""Between the times of two clocks: what float32 makes of keys and logarithms is far less."""

# --- inputs ---------------------------------------------------------------------------------------------------


def _labels(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Class 0 mostly, some of the others, some background, some ignored."""
    return draw.array(shape, lambda: float(draw.choice((0, 0, 1, _CLASSES, 2, -1, 0)))).astype(np.int64)


def _keys_of_clocks(labels: Array, clocks: Array, dtype: str) -> Array:
    """Keys whose exponential clocks ring at these times, in the case's precision."""
    sizes = (labels[..., :, np.newaxis] == labels[..., np.newaxis, :]).sum(axis=-1)
    return -np.expm1(-clocks / np.maximum(sizes, 1)).astype(dtype).astype(np.float64)


def distinct_clocks(draw: Draw) -> Case:
    """One to three images of up to ten candidates, whose clocks ring one after the other in any order."""
    shape = (draw.integer(1, 3), draw.integer(1, 10))
    labels, dtype = _labels(draw, shape), draw.dtype(_FULL)
    order = np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable")
    keys = _keys_of_clocks(labels, _APART * (order + 1), dtype)
    options = {"num_classes": _CLASSES, "num_expected": draw.choice((2, 1, 3, 4, 12))}
    return Case({"labels": labels, "keys": keys}, options, dtype)


def equal_clocks(draw: Draw) -> Case:
    """Keys of 0 ring at once whatever the class; equal keys inside a class ring together."""
    case = distinct_clocks(draw)
    keys, labels = case.arguments["keys"], case.arguments["labels"]
    zero = draw.array(keys.shape, lambda: float(draw.choice((1, 0)))).astype(bool)
    first = np.take_along_axis(keys, np.argmax(labels[..., np.newaxis, :] == labels[..., :, np.newaxis], axis=-1), -1)
    return case.with_arguments(keys=np.where(zero, 0.0, first))


def nothing_to_choose(draw: Draw) -> Case:
    """No positive, one class only, no candidate, or no more positives than the quota."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    labels = np.full(shape, draw.choice((_CLASSES, 0, -1)))
    keys = np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy()
    return Case({"labels": labels, "keys": keys}, {"num_classes": _CLASSES, "num_expected": draw.choice((3, 0, 5))},
                draw.dtype(_FULL))  # fmt: skip


def one_image(draw: Draw) -> Case:
    """One image with unequal classes and something left to choose, for the tests of distribution."""
    sizes = draw.choice(((6, 2, 1), (5, 3, 0), (4, 2, 2)))
    labels = np.repeat([0, 1, 2, _CLASSES, -1], [*sizes, 3, 1])
    return Case({"labels": labels[None], "keys": np.zeros((1, labels.size))},
                {"num_classes": _CLASSES, "num_expected": draw.choice((4, 3))}, draw.dtype(_FULL))  # fmt: skip


def proposals(seed: int) -> Case:
    """Two images of 500 positives among 2,000 proposals, nine tenths of them of one of 80 classes."""
    random = np.random.default_rng(seed)
    shape = (2, 2_000)
    labels = np.where(random.random(shape) < 0.9, 0, random.integers(1, 80, shape))
    labels[random.random(shape) < 0.75] = 80
    order = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1)
    keys = _keys_of_clocks(labels, 0.1 * _APART * (order + 1), "float64")
    return Case({"labels": labels, "keys": keys}, {"num_classes": 80, "num_expected": 128}, "float64",
                origin=f"scene {seed}")  # fmt: skip


def tied_proposals(seed: int) -> Case:
    """1,000 proposals, the positives of one class, with keys of eight values: an unstable sort of so many shows."""
    case = proposals(seed)
    labels = np.where(case.arguments["labels"][:, :1000] < 80, 0, 80)
    keys = np.random.default_rng(seed).integers(0, 8, labels.shape) / 8.0
    return case.with_arguments(labels=labels, keys=keys)


def _probabilities(case: Case) -> tuple[Float, Float]:
    return foreground_balanced_probabilities(case.arguments["labels"][0], **case.options)  # type: ignore[arg-type]


def _members_of_class_0(case: Case) -> Array:
    members: Array = case.arguments["labels"][0] == 0
    return members


def _law_of_class_0(case: Case) -> Float:
    labels = case.arguments["labels"][0]
    sizes = [(labels == c).sum() for c in range(_CLASSES)]
    vectors, probability = class_count_distribution(sizes, num_expected=case.options["num_expected"])  # type: ignore[arg-type]
    return np.bincount(vectors[:, 0], probability, minlength=sizes[0] + 1).astype(np.float64)


def reversed_candidates(case: Case) -> Case:
    """Candidates, with their keys, in reverse."""
    return case.with_arguments(**{name: values[..., ::-1].copy() for name, values in case.arguments.items()})


def renamed_classes(case: Case) -> Case:
    """Class 0 is called 1, 1 is 2 and 2 is 0."""
    labels = case.arguments["labels"]
    foreground = (labels >= 0) & (labels < _CLASSES)
    return case.with_arguments(labels=np.where(foreground, (labels + 1) % _CLASSES, labels))


def _more_than_the_quota(case: Case) -> bool:
    labels = case.arguments["labels"]
    positives = ((labels >= 0) & (labels < _CLASSES)).sum(axis=-1)
    return bool((positives > case.options["num_expected"]).any())


def _two_sizes(case: Case) -> bool:
    labels = case.arguments["labels"]
    return any(len({(image == c).sum() for c in range(_CLASSES)} - {0}) > 1 for image in labels)


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]


def _by_clock(clock: Callable[[Array, Array, int], Array]) -> Function:
    """A sampler that takes the smallest of other times: of labels and keys of one image, and C."""

    def sampler(labels: Array, keys: Array, *, num_classes: int, num_expected: int) -> Array:
        oracle.foreground_balanced_sampling(labels, keys, num_classes=num_classes, num_expected=num_expected)
        drawn = np.zeros(np.shape(labels), bool)
        for image in np.ndindex(np.shape(labels)[:-1]):
            label = np.asarray(labels)[image]
            members = np.flatnonzero((label >= 0) & (label < num_classes))
            time = clock(label[members], np.asarray(keys, dtype=np.float64)[image][members], num_classes)
            drawn[image][members[np.argsort(time, kind="stable")[:num_expected]]] = True
        return drawn

    return sampler


def _sizes(label: Array) -> Array:
    return np.asarray((label[:, np.newaxis] == label).sum(axis=-1))


def _ring(key: Array) -> Array:
    return np.asarray(-np.log1p(-key))


def _stratified(labels: Array, keys: Array, *, num_classes: int, num_expected: int) -> Array:
    """The same number of each class, then of the rest: the same mean where no class is exhausted, no spread."""
    oracle.foreground_balanced_sampling(labels, keys, num_classes=num_classes, num_expected=num_expected)
    drawn = np.zeros(np.shape(labels), bool)
    for image in np.ndindex(np.shape(labels)[:-1]):
        label, key = np.asarray(labels)[image], np.asarray(keys, dtype=np.float64)[image]
        members = np.flatnonzero((label >= 0) & (label < num_classes))
        rank = np.array([((label[members] == label[i]) & (key[members] < key[i])).sum() for i in members])
        drawn[image][members[np.lexsort((key[members], rank))[:num_expected]]] = True
    return drawn


def _with_replacement(labels: Array, keys: Array, *, num_classes: int, num_expected: int) -> Array:
    """Draws that may fall on the same box, which is then in the sample once: the batch shrinks."""
    random = np.random.default_rng(zlib.crc32(np.asarray(keys).tobytes()))
    drawn = np.zeros(np.shape(labels), bool)
    for image in np.ndindex(np.shape(labels)[:-1]):
        label = np.asarray(labels)[image]
        members = np.flatnonzero((label >= 0) & (label < num_classes))
        mass = 1.0 / _sizes(label[members])
        if len(members) <= num_expected:
            drawn[image][members] = True
        else:
            drawn[image][random.choice(members, num_expected, p=mass / mass.sum())] = True
    return drawn


def _own_keys(function: Function) -> Function:
    """The same draw, with random numbers of its own: only its distribution can be judged."""

    def sampler(labels: Array, **options: Any) -> Array:  # noqa: ANN401
        random = np.random.default_rng(zlib.crc32(np.asarray(labels).tobytes()))
        return np.asarray(function(labels, random.random(np.shape(labels)), **options))

    return sampler


def _without(labels: Array, keys: Array, change: Callable[[Array, int], Array], **options: Any) -> Array:  # noqa: ANN401
    changed = change(np.asarray(labels), options["num_classes"])
    return np.asarray(oracle.foreground_balanced_sampling(changed, keys, **options))


_RIGHT = oracle.foreground_balanced_sampling


def _whole_batch(labels: Array, keys: Array, **options: Any) -> Array:  # noqa: ANN401
    flat = _RIGHT(np.ravel(labels), np.ravel(keys), **options)
    return np.asarray(flat).reshape(np.shape(labels))


def _sizes_of_the_batch(labels: Array, keys: Array, **options: Any) -> Array:  # noqa: ANN401
    labels = np.asarray(labels)
    return np.stack([
        _by_clock(lambda label, key, _: (label[:, np.newaxis] == labels.ravel()).sum(axis=-1) * _ring(key))(
            image, key, **options)
        for image, key in zip(labels.reshape(-1, labels.shape[-1]), np.reshape(keys, (-1, labels.shape[-1])),
                              strict=True)
    ]).reshape(labels.shape)  # fmt: skip


def _last_of_equal(labels: Array, keys: Array, **options: Any) -> Array:  # noqa: ANN401
    return np.asarray(_RIGHT(np.asarray(labels)[..., ::-1], np.asarray(keys)[..., ::-1], **options))[..., ::-1]


MUTANTS = (
    Mutant("ofb/uniform", "every positive with the same probability", _by_clock(lambda _, key, __: key)),
    Mutant("ofb/more-of-the-frequent", "clocks of rate n_c: probabilities in proportion to the class",
           _by_clock(lambda label, key, _: _ring(key) / _sizes(label))),
    Mutant("ofb/square-root", "the inverse square root of the frequency",
           _by_clock(lambda label, key, _: _ring(key) * np.sqrt(_sizes(label)))),
    Mutant("ofb/key-over-probability", "keys divided by probabilities, without the logarithm",
           _by_clock(lambda label, key, _: key * _sizes(label))),
    Mutant("ofb/gumbel-on-probability", "Gumbel noise added to p instead of its logarithm",
           _by_clock(lambda label, key, _: -(1.0 / _sizes(label) - np.log(_ring(key) + 1e-300)))),
    Mutant("ofb/stratified", "the same number of each class by decree", _stratified),
    Mutant("ofb/most-probable", "the boxes of the smallest classes, without chance",
           _by_clock(lambda label, key, _: _sizes(label) + 1e-6 * key)),
    Mutant("ofb/ignored-is-a-class", "background counted as one more class", lambda labels, keys, **o: _without(
        labels, keys, lambda label, c: np.where(label == c, 0, label), **o)),
    Mutant("ofb/largest-clocks", "the last clocks instead of the first",
           _by_clock(lambda label, key, _: -_ring(key) * _sizes(label))),
    Mutant("ofb/sizes-of-the-batch", "class sizes over the whole batch", _sizes_of_the_batch),
    Mutant("ofb/whole-batch", "one quota for the whole batch", _whole_batch),
    Mutant("ofb/last-of-equal-clocks", "of equal clocks the last candidate's", _last_of_equal),
    Mutant("ofb/with-replacement", "draws with replacement: fewer boxes than the quota", _with_replacement,
           draws_own_keys=True),
    Mutant("ofb/uniform-without-keys", "uniform, with random numbers of its own",
           _own_keys(_by_clock(lambda _, key, __: key)), draws_own_keys=True),
    Mutant("ofb/stratified-without-keys", "the same number of each class, with random numbers of its own",
           _own_keys(_stratified), draws_own_keys=True),
    Mutant("ofb/first-candidates-only", "candidates beyond the 1,024th never drawn", lambda labels, keys, **o: _without(
        labels, keys, lambda label, _: np.where(np.arange(label.shape[-1]) < 1024, label, -1), **o)),
    Mutant("ofb/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("ofb/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_expected=lambda n: max(n, 0))),
    Mutant("ofb/broadcast", "labels repeated for keys of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "keys")),
    Mutant("ofb/raises-on-empty", "an error where there is no candidate", mistakes.failing_on_empty(_RIGHT, "keys")),
    Mutant("ofb/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by OFB-1; kept because a failure then names the law that is broken"

FOREGROUND_BALANCED_SAMPLING = Technique(
    id="foreground_balanced_sampling",
    title="Online foreground balanced sampling",
    family="foreground_balance",
    summary="Positives of each image, drawn so that every class present has the same chance.",
    sources=(
        "Oksuz et al., Generating Positive Bounding Boxes for Balanced Training, WACV 2020, arXiv 1909.09777",
    ),
    oracle=_RIGHT,
    arguments=(
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("keys", ("...", "N"), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("num_expected", 128, "quota of positives of an image"),
    ),
    outputs=(Output("positive", ("...", "N"), "bool", "the drawn positives"),),
    requirements=(
        Requirement("OFB-1", Level.MUST, Kind.VALUE,
                    "The positives whose exponential clocks of rate 1/n_c ring first are drawn.",
                    "OFB sampling; explicit keys are ours", value, distinct_clocks, scenes=(proposals,), dtypes=_FULL,
                    needs_keys=True,
                    reaches={"more positives than the quota": _more_than_the_quota,
                             "classes of two sizes in one image": _two_sizes,
                             "an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("OFB-2", Level.MUST, Kind.BOUND,
                    "min(n, P) positives are drawn, none twice, and nothing but positives.",
                    "ruling without-replacement", counts(_probabilities), one_image, dtypes=_FULL, examples=0.1,
                    no_mutant="a wrong number is a wrong frequency too, which OFB-5 sees; this one is exact"),
        Requirement("OFB-3", Level.MUST, Kind.TIES, "Of equal clocks the first candidate's counts.", "ruling ties",
                    value, equal_clocks, scenes=(tied_proposals,), dtypes=_FULL, needs_keys=True),
        Requirement("OFB-4", Level.MUST, Kind.EMPTY, "Images without a choice give what there is.",
                    "ruling shortage", value, nothing_to_choose, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("OFB-5", Level.MUST, Kind.DISTRIBUTION,
                    "Every candidate is drawn as often as successive draws without replacement draw it.",
                    "OFB sampling", frequencies(_probabilities), one_image, dtypes=_FULL, examples=0.03,
                    no_mutant="a wrong frequency of a candidate is one of its pairs; this one names the candidate"),
        Requirement("OFB-6", Level.MUST, Kind.DISTRIBUTION, "Every pair is drawn together as often as it must be.",
                    "OFB sampling", frequencies(_probabilities, of_pairs=True), one_image, dtypes=_FULL, examples=0.03,
                    no_mutant="wrong pairs of a class are a wrong law of its number, which OFB-7 sees"),
        Requirement("OFB-7", Level.MUST, Kind.DISTRIBUTION, "The number drawn of a class follows its exact law.",
                    "OFB sampling", numbers_in_group(_members_of_class_0, _law_of_class_0), one_image, dtypes=_FULL,
                    examples=0.03,
                    no_mutant="a law wrong in its first two moments is seen by OFB-5 and OFB-6; this sees the rest"),
        Requirement("OFB-8", Level.MUST, Kind.BATCH, "Quota and class sizes are those of each image.",
                    "ruling per-image", batch_equals_per_image, distinct_clocks, dtypes=_FULL, needs_keys=True,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFB-9", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, keys=0.0), distinct_clocks, dtypes=_FULL, needs_keys=True,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFB-10", Level.MUST, Kind.INVARIANCE,
                    "Reordering the candidates with their keys reorders the draw.", "explicit keys",
                    same_as(reversed_candidates, "draw of the reordered image", lambda o, _: o[..., ::-1]),
                    distinct_clocks, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFB-11", Level.MUST, Kind.INVARIANCE, "Other names of the classes change nothing.",
                    "explicit keys", same_as(renamed_classes, "draw with other names"), distinct_clocks, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OFB-12", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal draws.",
                    "house rule", purity, distinct_clocks, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("OFB-13", Level.SHOULD, Kind.ERROR, "Labels of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_clocks, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("OFB-14", Level.MAY, Kind.ERROR, "A negative quota is refused.", "house rule",
                    refuses(bad_option("num_expected", -1)), distinct_clocks, dtypes=_FULL, examples=0.2),
        Requirement("OFB-15", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_clocks, dtypes=_FULL, needs_keys=True, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("without-replacement", "Draws without replacement, as the authors' code makes them: a class with few"
               " boxes is soon exhausted, and others fill the quota. (With replacement the mean would be balanced.)"),
        Ruling("shortage", "With no more positives than the quota all are taken; there is no randomness then."),
        Ruling("per-image", "Classes are those present among the positives of the image, whose quota it is."),
        Ruling("ties", "Of equal clocks the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "with one class it is uniform sampling, which OFB-5 has among its inputs",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "OFB-2 counts what is drawn",
        Kind.EXTREME: "keys are plain numbers in [0, 1)",
    },
)  # fmt: skip
