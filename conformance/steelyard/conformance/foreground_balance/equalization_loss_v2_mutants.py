"""Known mistakes of the equalization loss v2: the specification told again, one step of it wrong in each."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.foreground_balance import equalization_loss_v2 as oracle
from steelyard.reference.logistic import sigmoid, softplus

Function = Callable[..., Any]
Answer = tuple[Array, Array, Array]
_LOSS, _GRAD = oracle.equalization_loss_v2, oracle.equalization_loss_v2_grad


def _ratio(up: Array, down: Array) -> Array:
    """The code's: 100 where nothing was added up."""
    return np.where((up == 0) & (down == 0), 100.0, up / (down + 1e-10))


def _weight(ratio: Array, gamma: float, mu: float) -> Array:
    return sigmoid(gamma * (ratio - mu))


def _positive_weight(r: Array, alpha: float) -> Array:
    return 1.0 + alpha * (1.0 - r)


def _samples(label: Array, *_: Any) -> float:  # noqa: ANN401
    return max(float(np.count_nonzero(label != -1)), 1.0)


def _added(before: Array, new: Array) -> Array:
    return before + new


def _answers(  # noqa: PLR0913
    logits: Array, labels: Array, positive_gradients: Array, negative_gradients: Array, weights: Array | None = None,
    *, gamma: float, mu: float, alpha: float, reduction: str,
    ratio: Callable[[Array, Array], Array] = _ratio,
    weight: Callable[[Array, float, float], Array] = _weight,
    on_positives: Callable[[Array, float], Array] = _positive_weight,
    on_negatives: Callable[[Array, Array], Array] = lambda r, q: r,  # noqa: ARG005
    of_object: Callable[[Array, Array], tuple[float, float]] = lambda q, r: (1.0, 1.0),  # noqa: ARG005
    divisor: Callable[[Array, Array, int], float] = _samples,
    add: Callable[[Array, Array], Array] = _added,
    is_weighted: bool = True,
    is_divided: bool = False,
    keeps: bool = True,
) -> tuple[Answer, Array]:  # fmt: skip
    """All outputs, and the derivative."""
    z, label = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    up, down = (np.asarray(one, dtype=np.float64) for one in (positive_gradients, negative_gradients))
    sample = np.ones(len(z)) if weights is None else np.asarray(weights, dtype=np.float64)
    r = weight(ratio(up, down), gamma, mu)
    q = on_positives(r, alpha)
    r = on_negatives(r, q)
    of_background = of_object(q, r)
    positive = label[:, None] == np.arange(z.shape[1])
    balance = np.where(positive, np.append(q, of_background[0]), np.append(r, of_background[1]))
    kept = np.where((label == -1) & keeps, 0.0, sample)[:, None]
    signed = np.where(positive, z, -z)
    by = divisor(label, sample, z.shape[1] - 1) if reduction == "mean" else 1.0
    size = sigmoid(-signed) * kept
    with np.errstate(divide="ignore", invalid="ignore"):
        element = kept * balance * softplus(-signed)
        loss = element if reduction == "none" else np.asarray(element.sum() / np.float64(by))
        slope = np.where(positive, -1.0, 1.0) * size * balance / np.float64(by)
    added = size * balance if is_weighted else size
    if is_divided:
        added = added / _samples(label)
    new = [np.where(one, added, 0.0).sum(axis=0)[:-1] for one in (positive, ~positive)]
    return (loss, add(up, new[0]), add(down, new[1])), slope


def _variant(**wrong: Any) -> tuple[Function, Function]:  # noqa: ANN401
    """The loss and its gradient with other steps."""

    @wraps(_LOSS)  # whose defaults say what a call may leave out
    def loss(**keywords: Any) -> Answer:  # noqa: ANN401
        _LOSS(**keywords)
        return _answers(**keywords, **wrong)[0]

    def gradient(**keywords: Any) -> Array:  # noqa: ANN401
        _LOSS(**keywords)
        return _answers(**keywords, **wrong)[1]

    return loss, gradient


def _after(**keywords: Any) -> Answer:  # noqa: ANN401
    """The weights of the gradients with this call's among them."""
    right = _LOSS(**keywords)
    late = {"positive_gradients": right.positive_gradients, "negative_gradients": right.negative_gradients}
    return np.asarray(_LOSS(**{**keywords, **late}).loss), right.positive_gradients, right.negative_gradients


def _after_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    right = _LOSS(**keywords)
    late = {"positive_gradients": right.positive_gradients, "negative_gradients": right.negative_gradients}
    return _GRAD(**{**keywords, **late})


def _without(name: str, function: Function) -> Function:
    @wraps(function)
    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        function(**keywords)
        return function(**{**keywords, name: None})

    return mutant


def _always_the_mean(function: Function) -> Function:
    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        function(**keywords)
        return function(**{**keywords, "reduction": "mean"})

    return mutant


@wraps(_LOSS)
def _weights_on_the_loss_alone(**keywords: Any) -> Answer:  # noqa: ANN401
    plain = _LOSS(**{**keywords, "weights": None})
    return np.asarray(_LOSS(**keywords).loss), plain.positive_gradients, plain.negative_gradients


def _last_channel(function: Function) -> Function:
    """-1 as an index is that of the last channel."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        labels = np.asarray(keywords["labels"])
        return function(**{**keywords, "labels": np.where(labels == -1, np.shape(keywords["logits"])[1] - 1, labels)})

    return mutant


def _with_loss(change: Callable[..., Array]) -> Function:
    """The right answer with another loss, which `change` makes of the right one."""

    def mutant(**keywords: Any) -> Answer:  # noqa: ANN401
        right = _LOSS(**keywords)
        return change(np.asarray(right.loss), **keywords), right.positive_gradients, right.negative_gradients

    return mutant


def _overflowing(loss: Array, logits: Array, **_: Any) -> Array:  # noqa: ANN401
    """log(1 + e^z) with an exponential that overflows."""
    lost = np.asarray(logits).astype(np.float64) > (88.0 if np.asarray(logits).dtype != np.float64 else 709.0)
    return np.where(lost if loss.ndim else lost.any(), np.inf, loss)


def _clamped(loss: Array, **keywords: Any) -> Array:  # noqa: ANN401
    """Logarithms of scores that are at least e^-100."""
    del loss
    return np.asarray(_LOSS(**{**keywords, "logits": np.clip(keywords["logits"], -100.0, 100.0)}).loss)


def _lost_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    """Infinity over infinity."""
    right, z = _GRAD(**keywords), np.asarray(keywords["logits"])
    return np.where(z.astype(np.float64) > (88.0 if z.dtype != np.float64 else 709.0), np.nan, right)


def _half_arithmetic(loss: Array, logits: Array, labels: Array, **_: Any) -> Array:  # noqa: ANN401
    """The logarithm of 1 - p in float16, which is 0 where p rounds to 1."""
    z = np.asarray(logits)
    negative = np.asarray(labels)[:, None] != np.arange(z.shape[1])
    lost = negative & (z > 8.5) & (z.dtype == np.float16)
    return np.where(lost if loss.ndim else lost.any(), np.inf, loss)


def _half_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    """Shares below 2^-6 lost."""
    right = _GRAD(**keywords)
    return np.where(np.abs(right) < 2.0**-6, 0.0, right) if keywords["logits"].dtype == np.float16 else right


def _ignored_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    """A little gradient where there is no label."""
    return np.where((np.asarray(keywords["labels"]) == -1)[:, None], 0.01, _GRAD(**keywords))


def _many_classes(loss: Array, logits: Array, **_: Any) -> Array:  # noqa: ANN401
    return loss * (1.0 + 1e-3 * (np.shape(logits)[1] > 1000))


def _many_classes_gradient(**keywords: Any) -> Array:  # noqa: ANN401
    return _GRAD(**keywords) * (1.0 + 1e-3 * (np.shape(keywords["logits"])[1] > 1000))


def _divided_sum(loss: Array, labels: Array, reduction: str, **_: Any) -> Array:  # noqa: ANN401
    return loss / _samples(np.asarray(labels)) if reduction == "sum" else loss


def _legal_reduction(reduction: str) -> str:
    return reduction if reduction in oracle.REDUCTIONS else "mean"


def _fitted(**keywords: Any) -> Any:  # noqa: ANN401
    """Gradients of classes that there are not left out."""
    classes = np.shape(keywords["logits"])[-1] - 1 if np.ndim(keywords["logits"]) else 0
    for name in ("positive_gradients", "negative_gradients"):
        keywords[name] = keywords[name][:classes]
    return _LOSS(**keywords)


MUTANTS = (
    Mutant("equalization/after", "the weights of the gradients after this call", _after, _after_gradient),
    Mutant("equalization/unweighted", "gradients added up before they are weighted", _variant(is_weighted=False)[0]),
    Mutant("equalization/mean-gradients", "added gradients divided by the samples", _variant(is_divided=True)[0]),
    Mutant("equalization/moving-average", "a moving average of the gradients instead of their sum",
           _variant(add=lambda before, new: 0.9 * before + 0.1 * new)[0]),
    Mutant("equalization/inverted", "the ratio of negative to positive gradients", *_variant(
        ratio=lambda up, down: np.where((up == 0) & (down == 0), 100.0, down / (up + 1e-10)))),
    Mutant("equalization/share", "the share of the positive gradients in all instead of their ratio", *_variant(
        ratio=lambda up, down: np.where((up == 0) & (down == 0), 100.0, up / (up + down + 1e-10)))),
    Mutant("equalization/not-mapped", "the ratio itself, cut at 1, as the weight of negatives", *_variant(
        weight=lambda ratio, gamma, mu: np.minimum(ratio, 1.0))),  # noqa: ARG005
    Mutant("equalization/q-on-all", "the weight of positives on negatives too", *_variant(
        on_negatives=lambda r, q: q)),  # noqa: ARG005
    Mutant("equalization/negatives-unweighted", "negatives with the weight 1", *_variant(
        on_negatives=lambda r, q: np.ones(r.shape))),  # noqa: ARG005
    Mutant("equalization/no-boost", "positives with the weight 1", *_variant(
        on_positives=lambda r, alpha: np.ones(r.shape))),  # noqa: ARG005
    Mutant("equalization/no-one", "positives with alpha (1 - r) instead of 1 + alpha (1 - r)", *_variant(
        on_positives=lambda r, alpha: alpha * (1.0 - r))),
    Mutant("equalization/object-balanced", "the object's channel with the mean weights of the classes", *_variant(
        of_object=lambda q, r: (float(q.mean()), float(r.mean())))),
    Mutant("equalization/by-foreground", "the loss divided by the foreground samples", *_variant(
        divisor=lambda label, _, classes: max(float(np.count_nonzero((label >= 0) & (label < classes))), 1.0))),
    Mutant("equalization/first-ratio-0", "a class without gradients so far with the ratio 0", *_variant(
        ratio=lambda up, down: up / (down + 1e-10))),
    Mutant("equalization/first-ratio-1", "a class without gradients so far with the ratio 1", *_variant(
        ratio=lambda up, down: np.where((up == 0) & (down == 0), 1.0, up / (down + 1e-10)))),
    Mutant("equalization/first-ratio-of-positives", "a class without negative gradients so far with the ratio 100",
           *_variant(ratio=lambda up, down: np.where(down == 0, 100.0, up / (down + 1e-10)))),
    Mutant("equalization/zero-alpha-is-default", "alpha = 0 taken as not given",
           mistakes.with_default_for_zero(_LOSS, "alpha", 4.0), mistakes.with_default_for_zero(_GRAD, "alpha", 4.0)),
    Mutant("equalization/weights-ignored", "the weights of the samples ignored", _without("weights", _LOSS),
           _without("weights", _GRAD), seen_in="mmdet"),
    Mutant("equalization/weights-on-the-loss-alone", "the weights of the samples not on the gradients added up",
           _weights_on_the_loss_alone),
    Mutant("equalization/by-weights", "the loss divided by the sum of the weights", *_variant(
        divisor=lambda label, weight, _: max(float(weight[label != -1].sum()), 1e-9) if len(label) else 1.0)),
    Mutant("equalization/reduction-ignored", "the mean whatever the reduction is", _always_the_mean(_LOSS),
           _always_the_mean(_GRAD), seen_in="mmdet"),
    Mutant("equalization/divided-sum", "the sum divided by the samples", _with_loss(_divided_sum)),
    Mutant("equalization/nan-without-samples", "0 divided by 0 samples", *_variant(
        divisor=lambda label, *_: float(np.count_nonzero(label != -1))), seen_in="mmdet"),
    Mutant("equalization/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_LOSS, "logits")),
    Mutant("equalization/ignored-counted", "ignored samples among those divided by", *_variant(
        divisor=lambda label, *_: max(len(label), 1))),
    Mutant("equalization/ignored-is-negative", "ignored samples negative in all channels", *_variant(keeps=False)),
    Mutant("equalization/ignored-is-last", "ignored samples taken for background", _last_channel(_LOSS),
           _last_channel(_GRAD)),
    Mutant("equalization/ignored-gradient", "a gradient for ignored samples", _LOSS, _ignored_gradient),
    Mutant("equalization/overflow", "exponentials that overflow", _with_loss(_overflowing), _lost_gradient),
    Mutant("equalization/clamped", "scores clamped", _with_loss(_clamped)),
    Mutant("equalization/lost-gradient", "exponentials that overflow in the gradient alone", _LOSS, _lost_gradient),
    Mutant("equalization/half-arithmetic", "an infinite loss in float16", _with_loss(_half_arithmetic)),
    Mutant("equalization/half-gradient", "small shares lost in float16", _LOSS, _half_gradient),
    Mutant("equalization/many-classes", "a loss of more than a thousand classes off", _with_loss(_many_classes)),
    Mutant("equalization/many-classes-gradient", "a gradient of more than a thousand classes off", _LOSS,
           _many_classes_gradient),
    Mutant("equalization/gradient-of-the-sum", "the gradient not divided by the samples", _LOSS,
           lambda **keywords: _GRAD(**{**keywords, "reduction": "sum"})),
    Mutant("equalization/gradient-of-the-mean", "the gradient of the mean whatever the reduction is", _LOSS,
           _always_the_mean(_GRAD)),
    Mutant("equalization/in-place", "the gradients so far overwritten",
           mistakes.overwriting(_LOSS, "positive_gradients", "negative_gradients")),
    Mutant("equalization/unchecked", "no check of its options", mistakes.unchecked(
        _LOSS, gamma=lambda gamma: gamma or 12.0, alpha=mistakes.at_least_0, reduction=_legal_reduction)),
    Mutant("equalization/broadcast", "logits repeated for another number of labels",
           mistakes.broadcasting(_LOSS, "logits", "labels")),
    Mutant("equalization/other-classes", "gradients of classes that there are not left out", _fitted),
)  # fmt: skip
