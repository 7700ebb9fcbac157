"""Known wrong versions of random sampling with a quota for the positives."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.mining_inputs import CLASSES
from steelyard.reference.hard_sampling import random_sampling as oracle

Function = Callable[..., Any]


def _by_image(draw: Callable[..., tuple[Array, Array]]) -> Function:
    """A sampler of one image, for batches, with the specification's checks."""

    def sampler(labels: Array, keys: Array, **options: Any) -> tuple[Array, Array]:  # noqa: ANN401
        oracle.random_sampling(labels, keys, **options)
        positive, negative = np.zeros(np.shape(labels), bool), np.zeros(np.shape(labels), bool)
        for b in np.ndindex(np.shape(labels)[:-1]):
            positive[b], negative[b] = draw(np.asarray(labels)[b], np.asarray(keys, dtype=np.float64)[b], **options)
        return positive, negative

    return sampler


def _take(group: Array, keys: Array, number: int) -> Array:
    members = np.flatnonzero(group)
    chosen = np.zeros(group.shape, bool)
    chosen[members[np.argsort(keys[members], kind="stable")[: max(number, 0)]]] = True
    return chosen


def _numbers(
    labels: Array, num_classes: int, num_samples: int, positive_fraction: float, negatives_per_positive: float | None
) -> tuple[Array, Array, int, int]:
    foreground, background = (labels >= 0) & (labels < num_classes), labels == num_classes
    n_pos = min(int(foreground.sum()), int(num_samples * positive_fraction))
    n_neg = min(int(background.sum()), num_samples - n_pos)
    if negatives_per_positive is not None:
        n_neg = min(n_neg, int(negatives_per_positive * max(1, n_pos)))
    return foreground, background, n_pos, n_neg


def rounded(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, _, _ = _numbers(labels, **o)
    n_pos = min(int(foreground.sum()), round(o["num_samples"] * o["positive_fraction"]))
    n_neg = min(int(background.sum()), o["num_samples"] - n_pos)
    if o["negatives_per_positive"] is not None:
        n_neg = min(n_neg, int(o["negatives_per_positive"] * max(1, n_pos)))
    return _take(foreground, keys, n_pos), _take(background, keys, n_neg)


def decimal_quota(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    number = o["num_samples"]
    whole = int(round(number * o["positive_fraction"], 6))
    return rounded(labels, keys, **{**o, "positive_fraction": whole / number})


def first_candidates_only(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    labels = np.where(np.arange(labels.size) < 16_384, labels, -1)
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    return _take(foreground, keys, n_pos), _take(background, keys, n_neg)


def no_fill_up(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    left = o["num_samples"] - int(o["num_samples"] * o["positive_fraction"])
    return _take(foreground, keys, n_pos), _take(background, keys, min(n_neg, left))


def positives_fill_up(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    missing = o["num_samples"] - n_pos - int(background.sum()) if o["negatives_per_positive"] is None else 0
    return _take(foreground, keys, n_pos + max(missing, 0)), _take(background, keys, n_neg)


def ignored_is_background(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    labels = np.where(labels == -1, o["num_classes"], labels)
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    return _take(foreground, keys, n_pos), _take(background, keys, n_neg)


def first_ones(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    places = np.arange(keys.size) / max(keys.size, 1)
    return _take(foreground, places, n_pos), _take(background, places, n_neg)


def largest_keys(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    return _take(foreground, -keys, n_pos), _take(background, -keys, n_neg)


def last_of_equal_keys(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    positive, negative = oracle.random_sampling(labels[::-1], keys[::-1], **o)
    return positive[::-1], negative[::-1]


def without_negatives_no_bound(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    foreground, background, n_pos, n_neg = _numbers(labels, **o)
    if o["negatives_per_positive"] is not None and n_pos == 0:
        n_neg = 0
    return _take(foreground, keys, n_pos), _take(background, keys, n_neg)


def whole_batch(labels: Array, keys: Array, **o: Any) -> tuple[Array, Array]:  # noqa: ANN401
    labels, keys = np.asarray(labels), np.asarray(keys)
    positive, negative = oracle.random_sampling(labels.ravel(), keys.ravel(), **o)
    return positive.reshape(labels.shape), negative.reshape(labels.shape)


def without_keys(change: Callable[[Array, Array], Array]) -> Function:
    """A sampler that draws its own keys, and not evenly; only its distribution can be judged."""

    def sampler(labels: Array, **options: Any) -> tuple[Array, Array]:  # noqa: ANN401
        random = np.random.default_rng(zlib.crc32(np.asarray(labels).tobytes()))
        keys = random.random(np.shape(labels))
        return oracle.random_sampling(labels, np.clip(change(keys, np.asarray(labels)), 0.0, 1.0 - 1e-9), **options)

    return sampler


def _favour_the_first(keys: Array, labels: Array) -> Array:
    return np.where(np.arange(labels.shape[-1]) == 0, keys**1.5, keys)


def _systematic(keys: Array, labels: Array) -> Array:
    """A random start in each group, and its neighbours: right for each candidate, wrong for pairs."""
    rotated = np.zeros(keys.shape)
    for group, start in ((labels == CLASSES, keys[..., :1]), ((labels >= 0) & (labels < CLASSES), keys[..., -1:])):
        size = np.maximum(group.sum(axis=-1, keepdims=True), 1)
        place = np.cumsum(group, axis=-1) - 1
        rotated = np.where(group, (place + np.floor(start * size)) % size / size, rotated)
    return rotated


def _shared_by_both_groups(keys: Array, labels: Array) -> Array:
    """The n-th negative has the n-th positive's key."""
    foreground, background = (labels >= 0) & (labels < CLASSES), labels == CLASSES
    shared = keys.copy()
    for image in np.ndindex(labels.shape[:-1]):
        first, second = np.flatnonzero(foreground[image]), np.flatnonzero(background[image])
        number = min(first.size, second.size)
        shared[image][second[:number]] = keys[image][first[:number]]
    return shared


def _lines_of_seven(keys: Array, labels: Array) -> Array:
    """Of seven positives one of the seven lines of Fano's plane: right for candidates and pairs, not for three."""
    foreground = (labels >= 0) & (labels < CLASSES)
    place = np.cumsum(foreground, axis=-1) - 1
    on_the_line = np.isin((place - np.floor(keys[..., :1] * 7)) % 7, (0, 1, 3))
    seven = foreground.sum(axis=-1, keepdims=True) == 7
    return np.where(foreground & seven, np.where(on_the_line, 0.0, 0.5), keys)


_RIGHT = oracle.random_sampling
MUTANTS = (
    Mutant("random-sampling/rounded-quota", "the quota of the positives rounded instead of cut", _by_image(rounded),
           seen_in="Fast R-CNN's and Detectron's RoI sampling (a dialect there)"),
    Mutant("random-sampling/decimal-quota", "the quota as decimal arithmetic gives it", _by_image(decimal_quota)),
    Mutant("random-sampling/first-candidates-only", "candidates beyond the 16,384th never drawn",
           _by_image(first_candidates_only)),
    Mutant("random-sampling/no-fill-up", "no negatives in the place of missing positives", _by_image(no_fill_up)),
    Mutant("random-sampling/positives-fill-up", "positives in the place of missing negatives",
           _by_image(positives_fill_up)),
    Mutant("random-sampling/ignored-is-background", "ignored candidates drawn as negatives",
           _by_image(ignored_is_background)),
    Mutant("random-sampling/first-ones", "the first candidates instead of random ones", _by_image(first_ones)),
    Mutant("random-sampling/largest-keys", "the largest keys instead of the smallest", _by_image(largest_keys)),
    Mutant("random-sampling/last-of-equal-keys", "of equal keys the last candidate's", _by_image(last_of_equal_keys)),
    Mutant("random-sampling/no-negatives-without-positives", "no negatives where there is no positive to bound them by",
           _by_image(without_negatives_no_bound)),
    Mutant("random-sampling/whole-batch", "one quota for the whole batch", whole_batch),
    Mutant("random-sampling/favours-the-first", "a bias towards the first candidate",
           without_keys(_favour_the_first), draws_own_keys=True),
    Mutant("random-sampling/systematic", "neighbours drawn together: right for each candidate, not for pairs",
           without_keys(_systematic), draws_own_keys=True),
    Mutant("random-sampling/shared-by-both-groups", "one permutation for positives and negatives",
           without_keys(_shared_by_both_groups), draws_own_keys=True),
    Mutant("random-sampling/lines-of-seven", "a draw that is right for pairs, but not for three candidates",
           without_keys(_lines_of_seven), draws_own_keys=True),
    Mutant("random-sampling/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("random-sampling/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_samples=lambda v: max(v, 1), positive_fraction=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("random-sampling/broadcast", "labels repeated for keys of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "keys")),
    Mutant("random-sampling/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "keys")),
    Mutant("random-sampling/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip
