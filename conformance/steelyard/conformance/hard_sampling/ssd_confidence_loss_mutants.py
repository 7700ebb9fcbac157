"""Known wrong versions of SSD's confidence loss, each with the gradient that belongs to it.

Most count the candidates in another way: they give each a number of times that it enters the loss, and a divisor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.mining_inputs import Function, largest, only_the_first
from steelyard.conformance.hard_sampling.quickselect import quickselected
from steelyard.reference.hard_sampling import hard_negative_mining as oracle
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad

Count = Callable[..., tuple[Array, float]]
"""From logits, labels, cross entropies, ratio and least number: how often each candidate enters, and the divisor."""

_LOSS, _GRAD = oracle.ssd_confidence_loss, oracle.ssd_confidence_loss_grad


def _counted(count: Count) -> tuple[Function, Function]:
    """Loss and gradient with another count."""

    def times(logits: Array, labels: Array, o: dict[str, Any]) -> tuple[Array, Array, Array, float]:
        _LOSS(logits, labels, **o)  # the specification's checks
        z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        number, divisor = count(z, y, softmax_focal_loss(z, y, alpha=None, gamma=0.0), **o)
        return z, np.where(number > 0, np.where(y == -1, z.shape[-1] - 1, y), -1), number, divisor

    def loss(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
        z, y, number, divisor = times(logits, labels, o)
        return np.asarray((number * softmax_focal_loss(z, y, alpha=None, gamma=0.0)).sum() / divisor)

    def gradient(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
        z, y, number, divisor = times(logits, labels, o)
        return np.asarray(number[..., None] * softmax_focal_loss_grad(z, y, alpha=None, gamma=0.0) / divisor)

    return loss, gradient


def _groups(z: Array, y: Array) -> tuple[Array, Array]:
    return (y >= 0) & (y < z.shape[-1] - 1), y == z.shape[-1] - 1


def _each(
    z: Array, y: Array, order_by: Array, wanted: Callable[[Array], int], *, among: Array | None = None
) -> tuple[Array, float]:
    """Positives once, and of each image the first `wanted` of a group in this order."""
    positive, background = _groups(z, y)
    number = positive.astype(np.float64)
    for b in np.ndindex(y.shape[:-1]):
        number[b] += largest((background if among is None else among)[b], order_by[b], wanted(positive[b]))
    return number, float(max(1, positive.sum()))


def _rule(ratio: float, least: int) -> Callable[[Array], int]:
    return lambda positive: max(math.floor(ratio * int(positive.sum())), least)


def _smallest(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    return _each(z, y, -losses, _rule(negatives_per_positive, min_negatives))


def _by_foreground(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    highest = (z[..., :-1] - np.logaddexp.reduce(z, axis=-1)[..., None]).max(axis=-1)
    return _each(z, y, highest, _rule(negatives_per_positive, min_negatives))


def _rounded_up(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    return _each(z, y, losses, lambda p: max(math.ceil(negatives_per_positive * int(p.sum())), min_negatives))


def _one_positive(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    rule = _rule(negatives_per_positive, min_negatives)
    return _each(z, y, losses, lambda p: rule(p) if p.any() else max(math.floor(negatives_per_positive), min_negatives))


def _one_negative(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    rule = _rule(negatives_per_positive, min_negatives)
    return _each(z, y, losses, lambda p: max(1, rule(p)))


def _twice(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    """Positives at minus infinity in the ranking, and whatever is in the first places added."""
    positive, background = _groups(z, y)
    ranked = np.where(background, losses, -np.inf)
    return _each(z, y, ranked, _rule(negatives_per_positive, min_negatives), among=positive | background)


def _compete(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    positive, background = _groups(z, y)
    number, divisor = _each(z, y, losses, _rule(negatives_per_positive, min_negatives), among=positive | background)
    return np.minimum(number, 1.0), divisor


def _indices(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    positive, background = _groups(z, y)
    order = np.argsort(np.where(background, -losses, np.inf), axis=-1, kind="stable")
    rule = _rule(negatives_per_positive, min_negatives)
    wanted = np.array([rule(positive[b]) for b in np.ndindex(y.shape[:-1])]).reshape((*y.shape[:-1], 1))
    return (positive | (background & (order < wanted))).astype(np.float64), float(max(1, positive.sum()))


def _ignored_background(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    y = np.where(y == -1, z.shape[-1] - 1, y)
    losses = softmax_focal_loss(z, y, alpha=None, gamma=0.0)
    return _each(z, y, losses, _rule(negatives_per_positive, min_negatives))


def _whole_batch(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    flat = z.reshape(-1, z.shape[-1])
    number, divisor = _each(flat, y.ravel(), losses.ravel(), _rule(negatives_per_positive, min_negatives))
    return number.reshape(y.shape), divisor


def _by_sample(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    number, _ = _each(z, y, losses, _rule(negatives_per_positive, min_negatives))
    return number, float(max(1.0, number.sum()))


def _by_images(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    number, _ = _each(z, y, losses, _rule(negatives_per_positive, min_negatives))
    positives = np.maximum(1, _groups(z, y)[0].sum(axis=-1, keepdims=True))
    return number / positives, float(max(1, math.prod(y.shape[:-1])))


def _with_zero_divisor(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    number, _ = _each(z, y, losses, _rule(negatives_per_positive, min_negatives))
    return number, float(_groups(z, y)[0].sum()) or np.nan


def _needs_positive(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    rule = _rule(negatives_per_positive, min_negatives)
    return _each(z, y, losses, lambda positive: rule(positive) if positive.any() else 0)


def _last(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    number, divisor = _each(
        z[..., ::-1, :], y[..., ::-1], losses[..., ::-1], _rule(negatives_per_positive, min_negatives)
    )
    return number[..., ::-1], divisor


def _quickselected(z: Array, y: Array, losses: Array, negatives_per_positive: float, min_negatives: int) -> Any:  # noqa: ANN401
    positive, background = _groups(z, y)
    number, rule = positive.astype(np.float64), _rule(negatives_per_positive, min_negatives)
    for b in np.ndindex(y.shape[:-1]):
        number[b] += quickselected(background[b], losses[b], rule(positive[b]))
    return number, float(max(1, positive.sum()))


def _leaking_gradient(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
    """The background outside the sample learns too."""
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    everything = softmax_focal_loss_grad(z, y, alpha=None, gamma=0.0) / max(1, int(_groups(z, y)[0].sum()))
    right = _GRAD(logits, labels, **o)
    return np.where(right.any(axis=-1, keepdims=True), right, 0.01 * everything)


def _one_maximum(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
    """The log-sum-exp with the largest logit of the batch: images far below it underflow."""
    right = _LOSS(logits, labels, **o)
    z = _at_least_float32(logits)
    lost = (np.exp(z - z.max(initial=-np.inf)).sum(axis=-1) == 0) & (np.asarray(labels) != -1)
    return np.asarray(np.where(lost.any(), np.inf, right))


def _naive_softmax(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
    right = _LOSS(logits, labels, **o)
    return np.asarray(np.where(np.isinf(np.exp(_at_least_float32(logits))).any(), np.nan, right))


def _at_least_float32(logits: Array) -> Array:
    return np.asarray(logits).astype(np.promote_types(np.asarray(logits).dtype, np.float32))


def _half_arithmetic(logits: Array, labels: Array, **o: Any) -> Array:  # noqa: ANN401
    """Softmax and logarithm apart, in half precision: a small probability rounds to 0."""
    right = np.asarray(_LOSS(logits, labels, **o))
    z, y = np.asarray(logits), np.asarray(labels)
    if z.dtype != np.float16 or not z.size:
        return right
    shares = np.exp((z - z.max(axis=-1, keepdims=True)).astype(np.float64))
    probability = (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float16)
    learns = _GRAD(logits, labels, **o).any(axis=-1)
    lost = np.take_along_axis(probability, np.maximum(y, 0)[..., None], -1)[..., 0] == 0
    return np.where((lost & learns).any(), np.inf, right)


def _whole_ratio_only(logits: Array, labels: Array, *, negatives_per_positive: float, **o: Any) -> Array:  # noqa: ANN401
    """The number of negatives as it comes out of the product, which no ranking takes if it is a fraction."""
    if negatives_per_positive != int(negatives_per_positive):
        raise TypeError("expected a whole number of negatives")
    return np.asarray(_LOSS(logits, labels, negatives_per_positive=negatives_per_positive, **o))


MUTANTS = (
    Mutant("ssd/whole-batch", "one ratio for the whole batch", *_counted(_whole_batch)),
    Mutant("ssd/divided-by-sample", "a division by positives and negatives", *_counted(_by_sample)),
    Mutant("ssd/mean-of-images", "each image divided by its own positives", *_counted(_by_images)),
    Mutant("ssd/smallest", "the easiest negatives", *_counted(_smallest)),
    Mutant("ssd/by-foreground-score", "negatives ranked by their highest foreground probability",
           *_counted(_by_foreground), seen_in="older ports of SSD"),
    Mutant("ssd/rounded-up", "a fraction of a negative counted as one", *_counted(_rounded_up),
           seen_in="torchvision, which compares ranks with the product"),
    Mutant("ssd/whole-ratio-only", "an error at a ratio that is not whole", _whole_ratio_only, seen_in="mmdet"),
    Mutant("ssd/at-least-one-positive", "negatives for an image without positives, as for one positive",
           *_counted(_one_positive)),
    Mutant("ssd/at-least-one-negative", "one negative of an image without positives", *_counted(_one_negative)),
    Mutant("ssd/positives-count-twice", "positives counted twice where there are too few negatives",
           *_counted(_twice), seen_in="torchvision; NVIDIA DeepLearningExamples issue 948"),
    Mutant("ssd/positives-compete", "places of negatives lost to positives with a larger loss", *_counted(_compete)),
    Mutant("ssd/indices-for-ranks", "sorted indices taken for ranks: one argsort instead of two",
           *_counted(_indices)),
    Mutant("ssd/ignored-is-background", "ignored candidates as background", *_counted(_ignored_background)),
    Mutant("ssd/division-by-zero", "NaN without positives", *_counted(_with_zero_divisor), seen_in="ssd.pytorch"),
    Mutant("ssd/least-number-needs-a-positive", "no least number for images without positives",
           *_counted(_needs_positive)),
    Mutant("ssd/last-of-equals", "of equal candidates the last one learning", *_counted(_last)),
    Mutant("ssd/quickselect", "of equal candidates those that a quickselect leaves in front learning",
           *_counted(_quickselected), seen_in="mmdet 3.3.0, torch.topk on a CPU"),
    Mutant("ssd/leaking-gradient", "a little gradient for the background outside the sample", _LOSS,
           _leaking_gradient),
    Mutant("ssd/one-maximum", "one maximum for the log-sum-exp of all images", _one_maximum, seen_in="ssd.pytorch"),
    Mutant("ssd/naive-softmax", "exponentials that overflow", _naive_softmax),
    Mutant("ssd/half-arithmetic", "small probabilities lost in half precision", _half_arithmetic),
    Mutant("ssd/zero-ratio-is-default", "a ratio of 0 taken as not given",
           mistakes.with_default_for_zero(_LOSS, "negatives_per_positive", 3.0),
           mistakes.with_default_for_zero(_GRAD, "negatives_per_positive", 3.0)),
    Mutant("ssd/first-candidates-only", "candidates beyond the 4,096th left out",
           only_the_first(_LOSS, "labels", 4096)),
    Mutant("ssd/in-place", "its inputs overwritten", mistakes.overwriting(_LOSS, "logits")),
    Mutant("ssd/unchecked", "no check of its options", mistakes.unchecked(
        _LOSS, negatives_per_positive=mistakes.at_least_0, min_negatives=lambda v: max(v, 0))),
    Mutant("ssd/broadcast", "logits repeated for labels of another number of images",
           mistakes.broadcasting(_LOSS, "logits", "labels")),
    Mutant("ssd/raises-on-empty", "an error where there is no candidate", mistakes.failing_on_empty(_LOSS, "logits")),
)  # fmt: skip
