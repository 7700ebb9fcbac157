"""Known mistakes of the class-balanced loss and its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.foreground_balance import class_balanced_loss as oracle
from steelyard.reference.soft_sampling.focal_loss import (
    sigmoid_focal_loss_with_labels,
    sigmoid_focal_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad

Function = Callable[..., Any]
Spread = Callable[[Array, Array], Array]
"""Weights of the classes, labels -> weight of every channel of every sample, (R, C) or (R, 1)."""

# --- weights --------------------------------------------------------------------------------------------------

_WEIGHTS = oracle.class_balanced_weights


def _weights(change: Callable[[Array, float], Array]) -> Function:
    """Unnormalised weights of the classes that occur, in place of the inverse effective numbers."""

    def mutant(counts: Array, *, beta: float) -> Array:
        _WEIGHTS(counts, beta=beta)
        n = np.asarray(counts, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            weight = np.where(n > 0, change(n, beta), 0.0)
            return np.asarray(weight * ((n > 0).sum() / max(weight.sum(), 1e-300)))

    return mutant


def _effective(n: Array, beta: float) -> Array:
    if beta == 1.0:
        return n
    return np.asarray(-np.expm1(n * np.log(beta)) / (1.0 - beta)) if beta > 0.0 else np.ones(n.shape)


def _scaled(scale: Callable[[Array, Array, float], Any]) -> Function:
    """The right weights times something: weights, counts, beta -> factor."""

    def mutant(counts: Array, *, beta: float) -> Array:
        weight, n = _WEIGHTS(counts, beta=beta), np.asarray(counts, dtype=np.float64)
        return np.asarray(weight * scale(weight, n, beta))

    return mutant


def _unnormalised(weight: Array, n: Array, beta: float) -> Array:
    inverse = np.divide(1.0, _effective(n, beta), out=np.zeros(n.shape), where=n > 0)
    return np.asarray(np.divide(inverse, weight, out=np.zeros(n.shape), where=weight > 0))


def _official(counts: Array, *, beta: float) -> Array:
    """(1 - beta) / (1 - beta^n), whatever n and beta are."""
    _WEIGHTS(counts, beta=beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = (1.0 - beta) / (1.0 - np.power(beta, np.asarray(counts, dtype=np.float64)))
        return np.asarray(inverse / inverse.sum() * len(inverse))


def _infinite_for_absent(counts: Array, *, beta: float) -> Array:
    return np.where(np.asarray(counts) > 0, _WEIGHTS(counts, beta=beta), np.inf)


def _floored(counts: Array, *, beta: float) -> Array:
    return _WEIGHTS(np.maximum(counts, 1), beta=beta)


def _no_limit(counts: Array, *, beta: float) -> Array:
    return _WEIGHTS(counts, beta=beta) * (np.nan if beta == 1.0 else 1.0)


def _nan_at_zero(counts: Array, *, beta: float) -> Array:
    return _WEIGHTS(counts, beta=beta) * (np.nan if beta == 0.0 else 1.0)


def _single(n: Array, beta: float) -> Array:
    if beta in (0.0, 1.0):
        return 1.0 / _effective(n, beta)
    return np.asarray(1.0 / (1.0 - np.power(np.float32(beta), n.astype(np.float32))).astype(np.float64))


def _clip(beta: float) -> float:
    return min(max(beta, 0.0), 1.0)


WEIGHT_MUTANTS = (
    Mutant("class-balanced-weights/not-normalised", "inverse effective numbers as they are", _scaled(_unnormalised)),
    Mutant("class-balanced-weights/sum-1", "weights whose sum is 1", _scaled(
        lambda w, _n, _beta: 1.0 / max(w.sum(), 1e-300))),
    Mutant("class-balanced-weights/inverse-counts", "1 / n", _weights(lambda n, _: 1.0 / n)),
    Mutant("class-balanced-weights/root", "beta^(1 / n)", _weights(
        lambda n, beta: 1.0 / n if beta == 1.0 else 1.0 / (1.0 - beta ** (1.0 / np.maximum(n, 1.0))))),
    Mutant("class-balanced-weights/effective", "the effective number, not its inverse", _weights(_effective)),
    Mutant("class-balanced-weights/one-sample-less", "the exponent n - 1", _weights(
        lambda n, beta: 1.0 / _effective(np.maximum(n - 1.0, 0.5), beta))),
    Mutant("class-balanced-weights/percent", "beta divided by 100", lambda counts, *, beta: _WEIGHTS(
        counts, beta=_WEIGHTS(counts, beta=beta).max() * 0.0 + beta / 100.0)),
    Mutant("class-balanced-weights/single-precision", "1 - beta^n in single precision", _weights(_single)),
    Mutant("class-balanced-weights/all-classes", "absent classes counted by the normaliser", _scaled(
        lambda _w, n, _beta: n.size / max(int((n > 0).sum()), 1))),
    Mutant("class-balanced-weights/infinite", "an infinite weight for a class without samples", _infinite_for_absent),
    Mutant("class-balanced-weights/official", "0 / 0 for a class without samples and for beta = 1", _official,
           seen_in="the authors' program, cbloss"),
    Mutant("class-balanced-weights/floored", "absent classes taken for classes with one sample", _floored,
           seen_in="timm"),
    Mutant("class-balanced-weights/no-limit", "NaN for beta = 1", _no_limit),
    Mutant("class-balanced-weights/no-zero", "NaN for beta = 0, by its logarithm", _nan_at_zero),
    Mutant("class-balanced-weights/zero-is-default", "beta = 0 taken as not given", mistakes.with_default_for_zero(
        _WEIGHTS, "beta", 0.999)),
    Mutant("class-balanced-weights/in-place", "the counts overwritten", mistakes.overwriting(_WEIGHTS, "counts")),
    Mutant("class-balanced-weights/unchecked", "no check of beta", mistakes.unchecked(_WEIGHTS, beta=_clip)),
)  # fmt: skip

# --- losses ---------------------------------------------------------------------------------------------------

_LOSS, _LOSS_GRAD = oracle.class_balanced_loss, oracle.class_balanced_loss_grad


def _of_class(counts: Array, labels: Array, beta: float) -> Array:
    return oracle.class_balanced_weights(counts, beta=beta)


def _rows(weight: Array, label: Array) -> Array:
    return np.where(label >= 0, weight[np.maximum(label, 0)], 0.0)[:, np.newaxis]


def _samples(weight: Array, label: Array, channels: int) -> float:
    return max(int((label >= 0).sum()), 1)


def _variant(
    *,
    classes: Callable[[Array, Array, float], Array] = _of_class,
    spread: Spread = _rows,
    denominator: Callable[[Array, Array, int], float] = _samples,
    focusing: Callable[[float], float] = lambda gamma: gamma,
    only_sigmoid: bool = False,
) -> tuple[Function, Function]:
    """A loss and its gradient with another weight of a class, of a channel, another denominator or exponent."""

    def total(logits: Array, labels: Array, counts: Array, *, kind: str, beta: float, gamma: float, slope: bool) -> Any:  # noqa: ANN401
        right = (_LOSS_GRAD if slope else _LOSS)(logits, labels, counts, kind=kind, beta=beta, gamma=gamma)
        if only_sigmoid and kind == "softmax":
            return right
        z, label = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        weight = classes(np.asarray(counts), label, beta)
        if kind == "softmax":
            one = softmax_focal_loss_grad if slope else softmax_focal_loss
            each = one(z, label, alpha=None, gamma=0.0)
            each = each if slope else each[:, np.newaxis]
        else:
            both = sigmoid_focal_loss_with_labels_grad if slope else sigmoid_focal_loss_with_labels
            each = both(z, label, alpha=None, gamma=focusing(gamma) if kind == "focal" else 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            weighted = spread(weight, label) * each
            return np.asarray((weighted if slope else weighted.sum()) / denominator(weight, label, z.shape[1]))

    def loss(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
        return total(logits, labels, counts, slope=False, **options)

    def gradient(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
        return total(logits, labels, counts, slope=True, **options)

    return loss, gradient


def _one_hot(weight: Array, label: Array) -> Array:
    return label[:, np.newaxis] == np.arange(len(weight))


def _batch_counts(counts: Array, labels: Array, beta: float) -> Array:
    return oracle.class_balanced_weights(np.bincount(labels[labels >= 0], minlength=len(counts)), beta=beta)


def _alpha(weight: Array, label: Array) -> Array:
    return np.where(_one_hot(weight, label), 0.25, 0.75) * _rows(weight, label)


def _infinite_weights(counts: Array, labels: Array, beta: float) -> Array:
    return np.where(counts > 0, oracle.class_balanced_weights(counts, beta=beta), np.inf)


def _weight_1_for_absent(counts: Array, labels: Array, beta: float) -> Array:
    return np.where(counts > 0, oracle.class_balanced_weights(counts, beta=beta), 1.0)


def _by_weights(weight: Array, label: Array, channels: int) -> float:
    total = float(_rows(weight, label).sum())
    return total if total > 0.0 else 1.0


def _with_ignored(weight: Array, label: Array, channels: int) -> float:
    return max(len(label), 1)


def _with_weight(weight: Array, label: Array, channels: int) -> float:
    return max(int((_rows(weight, label) > 0).sum()), 1)


def _unfloored(weight: Array, label: Array, channels: int) -> float:
    return np.float64((label >= 0).sum())


def _beyond_exp(logits: Array) -> Array:
    """Where exp(-x) overflows in the working dtype."""
    return np.isinf(np.exp(-np.asarray(logits)))


def _overflowing_modulator(logits: Array, labels: Array, counts: Array, *, kind: str, **options: Any) -> Array:  # noqa: ANN401
    """exp(-g y x - g log(1 + exp(-x))): the factor of the hardest positives is 0 once exp(-x) overflows."""
    total = np.asarray(_LOSS(logits, labels, counts, kind=kind, **options))
    if kind != "focal" or options["gamma"] == 0:
        return total
    z = np.asarray(logits, dtype=np.float64)
    lost = np.where(_one_hot(z[0], np.asarray(labels)) & _beyond_exp(logits), 800.0, z) if len(z) else z
    return np.asarray(_LOSS(lost, labels, counts, kind=kind, **options))


def _overflowing_gradient(logits: Array, labels: Array, counts: Array, *, kind: str, **options: Any) -> Array:  # noqa: ANN401
    """Autograd through the same: infinite over infinite, of positives and negatives."""
    slope = np.asarray(_LOSS_GRAD(logits, labels, counts, kind=kind, **options)).copy()
    if kind == "focal" and options["gamma"] != 0:
        slope[_beyond_exp(logits) & (np.asarray(labels) >= 0)[:, np.newaxis]] = np.nan
    return slope


def _ignored_is_last(function: Function) -> Function:
    def mutant(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
        return function(logits, np.where(np.asarray(labels) < 0, len(counts) - 1, labels), counts, **options)

    return mutant


def _weights_in_gradient_only(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
    return _LOSS_GRAD(logits, labels, counts, **{**options, "beta": 0.0})


def _probabilities_cut(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
    return _LOSS(np.clip(logits, -50, 50), labels, counts, **options)


def _half_overflow(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
    exact = _LOSS(logits, labels, counts, **options)
    return np.asarray(np.inf) if np.asarray(logits).dtype == np.float16 and np.abs(logits).max() > 11 else exact


def _broadcast(logits: Array, labels: Array, counts: Array, **options: Any) -> Any:  # noqa: ANN401
    z = np.asarray(logits)
    if len(z) != len(labels):
        z = np.broadcast_to(z[:1], (len(labels), z.shape[1]))
    return _LOSS(z, labels, np.resize(counts, z.shape[1]), **options)


_UNCHECKED = {
    "beta": _clip, "gamma": mistakes.at_least_0,
    "kind": lambda kind: kind if kind in oracle.KINDS else "softmax",
}  # fmt: skip

LOSS_MUTANTS = (
    Mutant("class-balanced-loss/not-normalised", "weights 1 / E, not normalised", *_variant(
        classes=lambda n, _, beta: np.divide(1.0, _effective(n * 1.0, beta), out=n * 0.0, where=n > 0))),
    Mutant("class-balanced-loss/inverse-counts", "weights inverse to the counts, whatever beta is", *_variant(
        classes=lambda n, _labels, _beta: oracle.class_balanced_weights(n, beta=1.0))),
    Mutant("class-balanced-loss/true-channel-only", "the weight on the true channel only", *_variant(
        spread=lambda w, y: np.where(_one_hot(w, y), _rows(w, y), 1.0), only_sigmoid=True)),
    Mutant("class-balanced-loss/by-column", "every channel weighed by its own class", *_variant(
        spread=lambda w, y: w * (y >= 0)[:, np.newaxis], only_sigmoid=True), seen_in="ports that pass pos_weight"),
    Mutant("class-balanced-loss/weighted-mean", "the sum divided by the weights, not by the number of samples",
           *_variant(denominator=_by_weights), seen_in="torch's cross_entropy(weight=) with class labels"),
    Mutant("class-balanced-loss/mean-of-elements", "the mean over samples and channels", *_variant(
        denominator=lambda w, y, channels: _samples(w, y, channels) * channels, only_sigmoid=True),
        seen_in="balanced-loss's binary cross entropy"),
    Mutant("class-balanced-loss/batch-counts", "counts of the mini-batch", *_variant(classes=_batch_counts)),
    Mutant("class-balanced-loss/alpha", "focal loss's alpha of 0.25 in addition", *_variant(
        spread=_alpha, only_sigmoid=True)),
    Mutant("class-balanced-loss/gamma-ignored", "an exponent of 0", *_variant(
        focusing=lambda _: 0.0)),
    Mutant("class-balanced-loss/zero-gamma-is-default", "gamma = 0 taken as 2", *_variant(
        focusing=lambda gamma: gamma if gamma > 0 else 2.0)),
    Mutant("class-balanced-loss/infinite-weight", "an infinite weight for classes without samples", *_variant(
        classes=_infinite_weights)),
    Mutant("class-balanced-loss/absent-weighs-1", "a weight of 1 for classes without samples", *_variant(
        classes=_weight_1_for_absent)),
    Mutant("class-balanced-loss/official-weights", "0 / 0 for a class without samples and for beta = 1", *_variant(
        classes=lambda n, _, beta: _official(n, beta=beta)), seen_in="the authors' program, cbloss"),
    Mutant("class-balanced-loss/by-nonzero-weights", "the number of samples that weigh anything", *_variant(
        denominator=_with_weight), seen_in="TensorFlow's SUM_BY_NONZERO_WEIGHTS"),
    Mutant("class-balanced-loss/ignored-counted", "ignored samples counted by the denominator", *_variant(
        denominator=_with_ignored)),
    Mutant("class-balanced-loss/ignored-is-last", "ignored samples taken for the last class",
           _ignored_is_last(_LOSS), _ignored_is_last(_LOSS_GRAD)),
    Mutant("class-balanced-loss/ignored-gradient", "a gradient for ignored samples, which the value leaves out",
           _LOSS, _ignored_is_last(_LOSS_GRAD)),
    Mutant("class-balanced-loss/nan-without-samples", "0 / 0 where no sample counts", *_variant(
        denominator=_unfloored), seen_in="balanced-loss, cbloss"),
    Mutant("class-balanced-loss/overflowing-factor",
           "a focal factor that overflows: no loss of positives and no gradient below the range of exp",
           _overflowing_modulator, _overflowing_gradient, seen_in="the authors' program, balanced-loss"),
    Mutant("class-balanced-loss/unweighted-gradient", "weights that the gradient leaves out", _LOSS,
           _weights_in_gradient_only),
    Mutant("class-balanced-loss/cut-logits", "logits cut to [-50, 50]", _probabilities_cut, _LOSS_GRAD),
    Mutant("class-balanced-loss/half-arithmetic", "an infinite loss in float16", _half_overflow),
    Mutant("class-balanced-loss/in-place", "the logits overwritten", mistakes.overwriting(_LOSS, "logits")),
    Mutant("class-balanced-loss/broadcast", "logits repeated for another number of labels", _broadcast),
    Mutant("class-balanced-loss/raises-on-empty", "an error without samples",
           mistakes.failing_on_empty(_LOSS, "logits")),
    Mutant("class-balanced-loss/unchecked", "no check of its options", mistakes.unchecked(_LOSS, **_UNCHECKED)),
)  # fmt: skip
