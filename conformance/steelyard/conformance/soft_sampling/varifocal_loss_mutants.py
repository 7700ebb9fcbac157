"""Wrong varifocal losses, each as it is found in the wild or easily written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.plain_mistakes import (
    at_least_0,
    broadcasting,
    cutting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    replacing_nan,
    unchecked,
    with_default_for_zero,
)
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling import varifocal_loss as oracle
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_grad
from steelyard.reference.soft_sampling.quality_focal_loss import (
    logits_targets_and_counted,
    quality_focal_loss,
    quality_focal_loss_grad,
)
from steelyard.reference.soft_sampling.soft_target import score_minus_target, soft_cross_entropy

Alpha = float | None
Elements = Callable[..., Array]
_LOSS, _GRADIENT = oracle.varifocal_loss, oracle.varifocal_loss_grad


def _parts(logits: Array, targets: Array, alpha: Alpha, gamma: float, iou_weighted: bool) -> tuple[Array, ...]:  # noqa: FBT001
    """Logits, targets, weight of the positives, weight of the negatives."""
    zeros = np.zeros(np.shape(logits))
    oracle.varifocal_loss(zeros, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    x, q = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    return x, q, q if iou_weighted else np.ones(q.shape), np.asarray(1.0 if alpha is None else alpha)


def _negative(x: Array, gamma: float) -> Array:
    return sigmoid_focal_loss(x, np.zeros(x.shape), alpha=None, gamma=gamma)


def _negative_grad(x: Array, gamma: float) -> Array:
    return sigmoid_focal_loss_grad(x, np.zeros(x.shape), alpha=None, gamma=gamma)


def alpha_on_positives(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, a * weight * soft_cross_entropy(x, q), _negative(x, gamma))


def alpha_on_positives_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, a * weight * score_minus_target(x, q), _negative_grad(x, gamma))


def focal_positives(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    """Positives weighed down by |p - q|^gamma too."""
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, weight * quality_focal_loss(x, q, beta=gamma), a * _negative(x, gamma))


def focal_positives_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, weight * quality_focal_loss_grad(x, q, beta=gamma), a * _negative_grad(x, gamma))


def hard_positives(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    """Positives learn 1, weighed by the quality."""
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, weight * np.logaddexp(0.0, -x), a * _negative(x, gamma))


def hard_positives_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, -weight * sigmoid(-x), a * _negative_grad(x, gamma))


def all_positive(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, _ = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.asarray(weight * np.where(weight == 0, 0.0, soft_cross_entropy(x, q)))


def all_positive_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, _ = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.asarray(weight * score_minus_target(x, q))


def threshold(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    """A quality below 1e-5 counts as none."""
    q = np.asarray(targets)
    return oracle.varifocal_loss(
        logits, np.where(q < 1e-5, 0.0, q), alpha=alpha, gamma=gamma, iou_weighted=iou_weighted
    )


def detached_factor_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    return np.where(q > 0, weight * score_minus_target(x, q), a * sigmoid(x) ** (gamma + 1))


def log_epsilon(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    x, q, weight, a = _parts(logits, targets, alpha, gamma, iou_weighted)
    p, rest = np.log(sigmoid(x) + 1e-8), np.log(sigmoid(-x) + 1e-8)
    return np.where(q > 0, -weight * (q * p + (1 - q) * rest), -a * sigmoid(x) ** gamma * rest)


def clamped_gradient(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    exact = oracle.varifocal_loss_grad(logits, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    return np.where(np.abs(logits) > -np.log(1e-7), 0.0, exact)


def power_rule_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    """Autograd through |p - q| ** gamma, taken of all elements and masked: infinite, times 0 is NaN."""
    x = np.asarray(logits)
    one = x.dtype.type(1)
    with np.errstate(over="ignore"):
        distance = one / (one + np.exp(-x)) - np.asarray(targets).astype(x.dtype)
    exact = oracle.varifocal_loss_grad(logits, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    return np.where((distance == 0) & (0 < gamma < 1), np.nan, exact)


def infinite_gradient(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    exact = oracle.varifocal_loss_grad(logits, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    return np.where(np.isinf(logits), np.nan, exact)


def half_arithmetic(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    exact = oracle.varifocal_loss(logits, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    if np.asarray(logits).dtype != np.float16:
        return exact
    return np.where(sigmoid(-np.asarray(logits)).astype(np.float16) < np.float16(1e-3), np.inf, exact)


def half_arithmetic_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float, iou_weighted: bool) -> Array:
    exact = oracle.varifocal_loss_grad(logits, targets, alpha=alpha, gamma=gamma, iou_weighted=iou_weighted)
    return exact + 2.0**-6 if np.asarray(logits).dtype == np.float16 else exact


def _with(function: Elements, **changed: Callable[..., object]) -> Elements:
    """The right function of changed options."""

    def loss(**keywords: object) -> Array:
        return function(**{**keywords, **{name: change(keywords[name]) for name, change in changed.items()}})

    return loss


def _default_for_none(alpha: Alpha) -> Alpha:
    return 0.75 if alpha is None else alpha


def _one_minus(alpha: Alpha) -> Alpha:
    return None if alpha is None else max(1.0 - alpha, 0.0)


_DETACHED = "the focal factor of the negatives treated as a constant in the gradient"
_POWER_RULE = "NaN gradient for gamma < 1 where the score rounds to the target, by differentiating a power"

MUTANTS = (
    Mutant("varifocal/alpha-on-positives", "alpha on the positives, as in the focal loss", alpha_on_positives,
           alpha_on_positives_grad),
    Mutant("varifocal/one-minus-alpha", "1 - alpha on the negatives, as in the focal loss",
           _with(_LOSS, alpha=_one_minus), _with(_GRADIENT, alpha=_one_minus)),
    Mutant("varifocal/focal-positives", "the focal factor |p - q|^gamma on positives too", focal_positives,
           focal_positives_grad),
    Mutant("varifocal/hard-positives", "1 as the target of positives, the quality as a weight only", hard_positives,
           hard_positives_grad),
    Mutant("varifocal/not-weighted", "positives not weighted by their quality",
           _with(_LOSS, iou_weighted=lambda _: False), _with(_GRADIENT, iou_weighted=lambda _: False)),
    Mutant("varifocal/always-weighted", "positives weighted by their quality also where that is switched off",
           _with(_LOSS, iou_weighted=lambda _: True), _GRADIENT),
    Mutant("varifocal/all-positive", "q >= 0 in place of q > 0: negatives have no loss", all_positive,
           all_positive_grad),
    Mutant("varifocal/threshold", "a quality below 1e-5 taken for none", threshold, _GRADIENT),
    Mutant("varifocal/detached-factor", _DETACHED, _LOSS, detached_factor_grad),
    Mutant("varifocal/zero-alpha-is-default", "alpha = 0 taken as not given",
           with_default_for_zero(_LOSS, "alpha", 0.75)),
    Mutant("varifocal/zero-gamma-is-default", "gamma = 0 taken as not given",
           with_default_for_zero(_LOSS, "gamma", 2.0)),
    Mutant("varifocal/none-is-default", "alpha = None taken as not given",
           _with(_LOSS, alpha=_default_for_none)),
    Mutant("varifocal/none-is-default-gradient", "alpha = None taken as not given in the gradient", _LOSS,
           _with(_GRADIENT, alpha=_default_for_none)),
    Mutant("varifocal/infinite-gradient", "NaN gradient for infinite logits", _LOSS, infinite_gradient),
    Mutant("varifocal/log-epsilon", "log(p + 1e-8): the loss of hard elements stops growing", log_epsilon),
    Mutant("varifocal/cut-logits", "logits cut to [-1000, 1000]", cutting(_LOSS, "logits", 1e3), _GRADIENT),
    Mutant("varifocal/clamped-gradient", "gradient 0 where the score is beyond [1e-7, 1 - 1e-7]", _LOSS,
           clamped_gradient),
    Mutant("varifocal/power-rule", _POWER_RULE, _LOSS, power_rule_grad, seen_in="mmdet"),
    Mutant("varifocal/half-arithmetic", "probabilities in float16", half_arithmetic),
    Mutant("varifocal/half-gradient", "the gradient computed in float16", _LOSS, half_arithmetic_grad),
    Mutant("varifocal/lost-tail", "the last elements of a large input left out", losing_the_tail(_LOSS)),
    Mutant("varifocal/lost-tail-gradient", "no gradient for the last elements of a large input", _LOSS,
           losing_the_tail(_GRADIENT)),
    Mutant("varifocal/in-place", "its inputs overwritten", overwriting(_LOSS, "logits", "targets")),
    Mutant("varifocal/unchecked", "no check of the options", unchecked(_LOSS, alpha=at_least_0, gamma=at_least_0)),
    Mutant("varifocal/broadcast", "logits broadcast to targets of another shape",
           broadcasting(_LOSS, "logits", "targets")),
    Mutant("varifocal/raises-on-empty", "an error on empty input", failing_on_empty(_LOSS, "logits")),
    Mutant("varifocal/nan-is-zero", "NaN replaced by 0: a broken network looks trained", replacing_nan(_LOSS)),
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------

_LABELLED, _LABELLED_GRADIENT = oracle.varifocal_loss_with_labels, oracle.varifocal_loss_with_labels_grad


def _by_targets(function: Elements, right: Elements) -> Elements:
    """A labelled loss of a wrong loss by targets; where the branch is by label and the quality 0, the right one."""

    def labelled(logits: Array, labels: Array, quality: Array, *, branch: str, **options: object) -> Array:
        exact = right(logits, labels, quality, branch=branch, **options)
        _, targets, counted = logits_targets_and_counted(logits, labels, quality)
        own = np.asarray(labels)[..., None] == np.arange(np.shape(logits)[-1])
        wrong = function(logits, targets, **options)
        return np.where(counted & ~(own & (targets == 0) & (branch == "label")), wrong, exact)

    return labelled


def _relabelled(function: Elements, relabel: Callable[[Array, int], Array]) -> Elements:
    """The right function of wrong labels."""

    def labelled(logits: Array, labels: Array, quality: Array, **options: object) -> Array:
        return function(logits, relabel(np.asarray(labels), np.shape(logits)[-1]), quality, **options)

    return labelled


def _ignored_is_background(labels: Array, classes: int) -> Array:
    return np.where(labels == -1, classes, labels)


def _first_is_background(labels: Array, classes: int) -> Array:
    return np.where(labels == 0, classes, np.where(labels == -1, -1, labels - 1))


def _background_is_last_class(labels: Array, classes: int) -> Array:
    return np.minimum(labels, classes - 1)


def multiplied_mask(logits: Array, labels: Array, quality: Array, **options: object) -> Array:
    """What is infinite before it is multiplied by 0 is NaN after."""
    lost = (np.asarray(labels) == -1)[..., None] & ~np.isfinite(logits)
    return np.where(lost, np.nan, _LABELLED(logits, labels, quality, **options))  # type: ignore[arg-type]


def multiplied_quality(logits: Array, labels: Array, quality: Array, **options: object) -> Array:
    """One-hot times quality: a quality that is NaN where no object is makes the target NaN."""
    exact = _LABELLED(logits, labels, quality, **options)  # type: ignore[arg-type]
    counted = (np.asarray(labels) != -1)[..., None]
    return np.where(counted & np.isnan(quality)[..., None], np.nan, exact)


def other_branch(logits: Array, labels: Array, quality: Array, *, branch: str, **options: object) -> Array:
    """The branch is by quality whatever is asked for."""
    return _LABELLED(logits, labels, quality, branch="quality" if branch == "label" else branch, **options)  # type: ignore[arg-type]


def nan_of_infinite(logits: Array, labels: Array, quality: Array, **options: object) -> Array:
    """An infinite loss multiplied by a weight of 0."""
    exact = _LABELLED(logits, labels, quality, **options)  # type: ignore[arg-type]
    return np.where(np.isinf(logits) & (np.asarray(labels) != -1)[..., None], np.nan, exact)


def _known_branch(branch: str) -> str:
    return branch if branch in oracle.BRANCHES else "quality"


LABEL_MUTANTS = (
    Mutant("varifocal-labels/ignored-is-negative", "ignored anchors trained as background",
           _relabelled(_LABELLED, _ignored_is_background), _relabelled(_LABELLED_GRADIENT, _ignored_is_background),
           seen_in="the authors' code (hyz-xmaster/VarifocalNet)"),
    Mutant("varifocal-labels/ignored-gradient", "a gradient for ignored anchors, whose loss is 0", _LABELLED,
           _relabelled(_LABELLED_GRADIENT, _ignored_is_background)),
    Mutant("varifocal-labels/multiplied-mask", "the ignored multiplied by 0, which leaves NaN of what is not finite",
           multiplied_mask),
    Mutant("varifocal-labels/multiplied-quality", "the quality read where there is no object", multiplied_quality),
    Mutant("varifocal-labels/background-first", "class c in channel c - 1, as where 0 is the background",
           _relabelled(_LABELLED, _first_is_background), _relabelled(_LABELLED_GRADIENT, _first_is_background)),
    Mutant("varifocal-labels/background-is-last-class", "the background trained as the last class",
           _relabelled(_LABELLED, _background_is_last_class),
           _relabelled(_LABELLED_GRADIENT, _background_is_last_class)),
    Mutant("varifocal-labels/branch-by-quality", "the branch taken by the quality where the label is to decide",
           other_branch, _LABELLED_GRADIENT),
    Mutant("varifocal-labels/alpha-on-positives", "alpha on the positives, as in the focal loss",
           _by_targets(alpha_on_positives, _LABELLED), _by_targets(alpha_on_positives_grad, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/focal-positives", "the focal factor |p - q|^gamma on positives too",
           _by_targets(focal_positives, _LABELLED), _by_targets(focal_positives_grad, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/hard-positives", "1 as the target of positives, the quality as a weight only",
           _by_targets(hard_positives, _LABELLED), _by_targets(hard_positives_grad, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/none-is-default", "alpha = None taken as not given",
           _with(_LABELLED, alpha=_default_for_none), _LABELLED_GRADIENT),
    Mutant("varifocal-labels/none-is-default-gradient", "alpha = None taken as not given in the gradient", _LABELLED,
           _with(_LABELLED_GRADIENT, alpha=_default_for_none)),
    Mutant("varifocal-labels/detached-factor", _DETACHED, _LABELLED,
           _by_targets(detached_factor_grad, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/cut-logits", "logits cut to [-1000, 1000]", cutting(_LABELLED, "logits", 1e3),
           _LABELLED_GRADIENT),
    Mutant("varifocal-labels/nan-of-infinite", "NaN of infinite logits", nan_of_infinite),
    Mutant("varifocal-labels/infinite-gradient", "NaN gradient for infinite logits", _LABELLED,
           _by_targets(infinite_gradient, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/clamped-gradient", "gradient 0 where the score is beyond [1e-7, 1 - 1e-7]", _LABELLED,
           _by_targets(clamped_gradient, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/power-rule", _POWER_RULE, _LABELLED, _by_targets(power_rule_grad, _LABELLED_GRADIENT)),
    Mutant("varifocal-labels/half-arithmetic", "probabilities in float16", _by_targets(half_arithmetic, _LABELLED)),
    Mutant("varifocal-labels/lost-tail", "the last elements of a large input left out", losing_the_tail(_LABELLED)),
    Mutant("varifocal-labels/lost-tail-gradient", "no gradient for the last elements of a large input", _LABELLED,
           losing_the_tail(_LABELLED_GRADIENT)),
    Mutant("varifocal-labels/in-place", "its inputs overwritten", overwriting(_LABELLED, "logits", "quality")),
    Mutant("varifocal-labels/unchecked", "no check of the options",
           unchecked(_LABELLED, alpha=at_least_0, gamma=at_least_0, branch=_known_branch)),
    Mutant("varifocal-labels/broadcast", "logits broadcast to labels of another shape",
           broadcasting(broadcasting(_LABELLED, "logits", "labels"), "quality", "labels")),
    Mutant("varifocal-labels/raises-on-empty", "an error on empty input", failing_on_empty(_LABELLED, "labels")),
)  # fmt: skip
