"""Known mistakes of the seesaw loss: the specification told again, one step of it wrong in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.foreground_balance import seesaw_loss as oracle
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad

Function = Callable[..., Any]
_LOSS, _GRAD = oracle.seesaw_loss, oracle.seesaw_loss_grad


def _mitigation(n: Array, own: Array, p: float) -> Array:
    """Log of M, from the logarithms of the counts and of each sample's own."""
    return np.asarray(p * np.minimum(0.0, n - own))


def _compensation(score: Array, own: Array, q: float, floor: float) -> Array:
    """Log of C, from the logarithms of the scores and of each sample's own."""
    with np.errstate(divide="ignore"):
        return np.asarray(q * np.maximum(0.0, score - np.maximum(own, np.log(floor))))


def _floored(counts: Array) -> Array:
    return np.maximum(counts, 1.0)


def _log_factor(  # noqa: PLR0913
    z: Array, own: Array, counts: Array, *, p: float, q: float, epsilon: float | None,
    mitigation: Callable[[Array, Array, float], Array] = _mitigation,
    compensation: Callable[[Array, Array, float, float], Array] = _compensation,
    count: Callable[[Array], Array] = _floored,
    diagonal: bool = False,
) -> Array:  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.log(count(np.asarray(counts, dtype=np.float64)))
        score = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
        factor = mitigation(n, n[own][:, None], p) + compensation(
            score, np.take_along_axis(score, own[:, None], axis=1), q, epsilon or 0.0
        )
    return factor if diagonal else np.where(own[:, None] == np.arange(z.shape[1]), 0.0, factor)


def _variant(
    join: Callable[[Array, Array], Array] = np.add,
    of_labels: Callable[[Array, int], Array] = lambda label, classes: np.where(label == classes, -1, label),
    **wrong: Any,  # noqa: ANN401
) -> tuple[Function, Function]:
    """A loss and its gradient with other factors, another way to join them to the logits, or other labels."""

    def of(function: Function, logits: Array, labels: Array, counts: Array, **options: Any) -> Array:  # noqa: ANN401
        _LOSS(logits, labels, counts, **options)
        z = np.asarray(logits, dtype=np.float64)
        label = of_labels(np.asarray(labels), z.shape[1])
        moved = join(z, _log_factor(z, np.maximum(label, 0), counts, **options, **wrong))
        with np.errstate(invalid="ignore"):
            lost = np.asarray(~np.isfinite(moved).all(axis=1))
        found = function(np.where(lost[:, None], 0.0, moved), label, alpha=None, gamma=0.0)
        found[lost & (label >= 0)] = np.nan
        return np.asarray(found)

    def loss(logits: Array, labels: Array, counts: Array, **options: Any) -> Array:  # noqa: ANN401
        return of(softmax_focal_loss, logits, labels, counts, **options)

    def gradient(logits: Array, labels: Array, counts: Array, **options: Any) -> Array:  # noqa: ANN401
        return of(softmax_focal_loss_grad, logits, labels, counts, **options)

    return loss, gradient


def _not_detached(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """The derivative through the scores in the compensation too."""
    slope = np.array(_GRAD(logits, labels, counts, **o))
    z, label = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    score = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        lowest = np.log(o["epsilon"] or 0.0)
    for i in np.flatnonzero((label >= 0) & (label < z.shape[1])):
        own, share = score[i, label[i]], np.exp(score[i])
        above = (score[i] > max(own, lowest)) & (np.arange(z.shape[1]) != label[i])
        is_own = (np.arange(z.shape[1]) == label[i]) * 1.0
        by_own = np.where(own > lowest, is_own - share, 0.0)
        for j in np.flatnonzero(above):
            by_score = (np.arange(z.shape[1]) == j) - share
            slope[i] += _GRAD(logits, labels, counts, **o)[i, j] * o["q"] * (by_score - by_own)
    return slope


def _half(logits: Array, of_half: Callable[[], Array], right: Array) -> Array:
    return of_half() if np.asarray(logits).dtype == np.float16 else np.asarray(right)


def _counts_in_half(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """Counts in float16, infinite from 65,520 on: all samples NaN, by infinity over infinity or infinity times 0."""
    right = np.array(_LOSS(logits, labels, counts, **o))
    has_class = (np.asarray(labels) >= 0) & (np.asarray(labels) < len(counts))
    infinite = o["p"] > 0 and np.max(counts) >= 65_520
    return _half(logits, lambda: np.where(has_class & infinite, np.nan, right), right)


def _counts_in_half_gradient(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    lost = np.isnan(_counts_in_half(logits, labels, counts, **o))
    return np.where(lost[:, None], np.nan, _GRAD(logits, labels, counts, **o))


def _half_arithmetic(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """The softmax of the moved logits in float16, infinite below its range."""
    right = np.asarray(_LOSS(logits, labels, counts, **o))
    return _half(logits, lambda: np.where(right > 9.0, np.inf, right), right)


def _half_gradient(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """Shares below 2^-6 lost."""
    right = np.asarray(_GRAD(logits, labels, counts, **o))
    return _half(logits, lambda: np.where(np.abs(right) < 2.0**-6, 0.0, right), right)


def _naive(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """Exponentials that overflow."""
    right = np.asarray(_LOSS(logits, labels, counts, **o))
    with np.errstate(over="ignore"):
        lost = np.isinf(np.exp(np.asarray(logits).astype(np.promote_types(np.asarray(logits).dtype, np.float32))))
    return np.where(lost.any(axis=1) & (right > 0), np.nan, right)


def _naive_gradient(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    lost = np.isnan(_naive(logits, labels, counts, **o))
    return np.where(lost[:, None], np.nan, _GRAD(logits, labels, counts, **o))


def _reduced(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    right = np.asarray(_LOSS(logits, labels, counts, **o))
    return np.asarray(right.mean()) if right.size else right


def _of_the_batch(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    label = np.asarray(labels)
    _LOSS(logits, labels, counts, **o)
    return np.asarray(
        _LOSS(logits, labels, np.bincount(label[(label >= 0) & (label < len(counts))], minlength=len(counts)), **o)
    )


def _background_is_last(label: Array, classes: int) -> Array:
    return np.where(label == classes, classes - 1, label)


def _ignored_is_last(label: Array, classes: int) -> Array:
    return np.where(label == classes, -1, np.where(label == -1, classes - 1, label))


def _background_gradient(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """A little gradient where there is no class."""
    right = np.asarray(_GRAD(logits, labels, counts, **o))
    return np.where((np.asarray(labels) == right.shape[1])[:, None], 0.01, right)


def _last_class_lost(logits: Array, labels: Array, counts: Array, **o: Any) -> Array:  # noqa: ANN401
    """Of more than a thousand classes the factors of the last are 1."""
    right = np.asarray(_LOSS(logits, labels, counts, **o))
    if right.size == 0 or np.shape(logits)[1] <= 1000:
        return right
    return np.where(right > 0, right * (1.0 + 1e-3), right)


MUTANTS = (
    Mutant("seesaw/inverted", "the ratio of counts inverted: rare classes punished for frequent ones", *_variant(
        mitigation=lambda n, own, p: p * np.minimum(0.0, own - n))),
    Mutant("seesaw/both-ways", "the ratio of counts not cut at 1: more frequent classes punished more", *_variant(
        mitigation=lambda n, own, p: p * (n - own))),
    Mutant("seesaw/no-mitigation", "no factor of counts", *_variant(
        mitigation=lambda n, own, p: 0.0 * p * (n - own))),
    Mutant("seesaw/no-compensation", "no factor of scores", *_variant(
        compensation=lambda score, *_: 0.0 * score)),
    Mutant("seesaw/compensation-of-all", "the ratio of scores not cut at 1", *_variant(
        compensation=lambda score, own, q, floor: q * (score - np.maximum(own, np.log(floor or 1e-300))))),
    Mutant("seesaw/compensation-inverted", "the ratio of scores inverted", *_variant(
        compensation=lambda score, own, q, floor: q * np.maximum(0.0, own - np.maximum(score, np.log(floor or 1e-300))),
    )),
    Mutant("seesaw/floor-on-others", "the floor under the other class's score, not under the own one", *_variant(
        compensation=lambda score, own, q, floor: q * np.maximum(0.0, np.maximum(score, np.log(floor or 1e-300)) - own),
    )),
    Mutant("seesaw/epsilon-added", "epsilon added to the own score instead of a floor under it", *_variant(
        compensation=lambda score, own, q, floor: q * np.maximum(0.0, score - np.log(np.exp(own) + floor)))),
    Mutant("seesaw/no-floor", "no floor under the own score", *_variant(
        compensation=lambda score, own, q, _: _compensation(score, own, q, 0.0))),
    Mutant("seesaw/always-a-floor", "a floor of 0.01 also where it is off", *_variant(
        compensation=lambda score, own, q, floor: _compensation(score, own, q, floor or 0.01))),
    Mutant("seesaw/not-detached", "a derivative through the scores in the compensation", _LOSS, _not_detached),
    Mutant("seesaw/multiplied", "logits multiplied by the factor instead of its logarithm added", *_variant(
        lambda z, factor: z * np.exp(np.clip(factor, -50.0, 50.0)))),
    Mutant("seesaw/own-class-too", "a factor on the own class: its ratio to the floor, which may be below 1", *_variant(
        compensation=lambda score, own, q, floor: np.where(
            score == own, q * np.minimum(0.0, own - np.log(floor or 1e-300)), _compensation(score, own, q, floor)),
        diagonal=True)),
    Mutant("seesaw/unseen-is-zero", "a class that was never seen counted as none: a weight of 0, or infinite",
           *_variant(count=lambda counts: counts)),
    Mutant("seesaw/one-more", "one sample added to each count", *_variant(count=lambda counts: counts + 1.0)),
    Mutant("seesaw/counts-of-the-batch", "the mini-batch's counts instead of those so far", _of_the_batch),
    Mutant("seesaw/background-is-a-class", "background samples taken for the last class",
           *_variant(of_labels=_background_is_last)),
    Mutant("seesaw/background-gradient", "a gradient for background samples", _LOSS, _background_gradient),
    Mutant("seesaw/ignored-is-last", "ignored samples taken for the last class", *_variant(of_labels=_ignored_is_last)),
    Mutant("seesaw/zero-p-is-default", "p = 0 taken as not given", mistakes.with_default_for_zero(_LOSS, "p", 0.8),
           mistakes.with_default_for_zero(_GRAD, "p", 0.8)),
    Mutant("seesaw/zero-q-is-default", "q = 0 taken as not given", mistakes.with_default_for_zero(_LOSS, "q", 2.0),
           mistakes.with_default_for_zero(_GRAD, "q", 2.0)),
    Mutant("seesaw/counts-in-half", "counts in float16, which are infinite from 65,520 on", _counts_in_half,
           _counts_in_half_gradient, seen_in="mmdet and seesawloss, in a model of half precision"),
    Mutant("seesaw/half-arithmetic", "an infinite loss in float16", _half_arithmetic),
    Mutant("seesaw/half-gradient", "small shares lost in float16", _LOSS, _half_gradient),
    Mutant("seesaw/naive-softmax", "exponentials that overflow", _naive, _naive_gradient),
    Mutant("seesaw/naive-gradient", "exponentials that overflow in the gradient alone", _LOSS, _naive_gradient),
    Mutant("seesaw/many-classes", "factors of more than a thousand classes off", _last_class_lost),
    Mutant("seesaw/reduced", "the mean instead of the samples", _reduced),
    Mutant("seesaw/in-place", "the logits overwritten", mistakes.overwriting(_LOSS, "logits")),
    Mutant("seesaw/unchecked", "no check of its options", mistakes.unchecked(
        _LOSS, p=mistakes.at_least_0, q=mistakes.at_least_0,
        epsilon=lambda epsilon: None if epsilon is None else min(max(epsilon, 0.0), 1.0))),
    Mutant("seesaw/broadcast", "logits repeated for another number of labels",
           mistakes.broadcasting(_LOSS, "logits", "labels")),
    Mutant("seesaw/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_LOSS, "logits")),
)  # fmt: skip
