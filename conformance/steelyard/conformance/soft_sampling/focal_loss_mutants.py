"""Wrong sigmoid focal losses, each as it is found in the wild or easily written.

Called with arrays of the working dtype, like a candidate. Where only the gradient is wrong, the value is the
oracle's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.logistic import log_sigmoid, sigmoid
from steelyard.reference.soft_sampling import focal_loss as oracle

Alpha = float | None


def _parts(logits: Array, targets: Array) -> tuple[Array, Array, Array]:
    """Target as bool, signed logit, p_t."""
    if np.shape(logits) != np.shape(targets):
        raise ValueError("shapes differ")
    if not np.isin(targets, (0, 1)).all():
        raise ValueError("a target is neither 0 nor 1")
    y = np.asarray(targets) == 1
    t = np.where(y, logits, -logits).astype(np.float64)
    return y, t, sigmoid(t)


def _balance(y: Array, alpha: Alpha) -> Array:
    if alpha is not None and not -1 <= alpha <= 1:
        raise ValueError("alpha is out of range")
    return np.ones(y.shape) if alpha is None else np.where(y, alpha, 1 - alpha)


def _factor(base: Array, gamma: float) -> Array:
    if gamma < 0:
        raise ValueError("gamma is negative")
    return np.asarray(np.power(base, gamma))


def swapped_p_t(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, t, p_t = _parts(logits, targets)
    return -_balance(y, alpha) * _factor(p_t, gamma) * log_sigmoid(t)


def alpha_on_negatives(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.sigmoid_focal_loss(logits, targets, alpha=None if alpha is None else 1 - alpha, gamma=gamma)


def alpha_on_negatives_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.sigmoid_focal_loss_grad(logits, targets, alpha=None if alpha is None else 1 - alpha, gamma=gamma)


def alpha_on_both(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    weight = 1.0 if alpha is None else alpha
    return weight * oracle.sigmoid_focal_loss(logits, targets, alpha=None, gamma=gamma)


def alpha_on_both_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    weight = 1.0 if alpha is None else alpha
    return weight * oracle.sigmoid_focal_loss_grad(logits, targets, alpha=None, gamma=gamma)


def _rounded_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """(1 - y) x - log sigmoid(x) in the working dtype, and 1 - exp(-loss), which is 0 where the loss rounds to 0."""
    x = np.asarray(logits)
    y = (np.asarray(targets) == 1).astype(x.dtype)
    loss = (1 - y) * x - (np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))
    return loss, 1 - np.exp(-loss)


def alpha_on_both_rounded(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    alpha_on_both(logits, targets, alpha=alpha, gamma=gamma)  # its checks
    loss, one_less = _rounded_cross_entropy(logits, targets)
    power = np.power(one_less, loss.dtype.type(gamma))
    return np.asarray(loss.dtype.type(1.0 if alpha is None else alpha) * power * loss)


def alpha_on_both_rounded_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Autograd through that: where 1 - exp(-loss) is 0, its power of gamma - 1 is infinite, times 0 NaN."""
    loss, one_less = _rounded_cross_entropy(logits, targets)
    weight, g = (loss.dtype.type(v) for v in (1.0 if alpha is None else alpha, gamma))
    by_power = np.zeros_like(loss) if gamma == 0 else g * np.power(one_less, g - 1)
    slope = weight * loss * by_power * np.exp(-loss) + weight * np.power(one_less, g)
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    return np.asarray(slope * (p - (np.asarray(targets) == 1)))


def alpha_squared(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    balance = _balance(np.asarray(targets) == 1, alpha)
    return balance * oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


def alpha_squared_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    balance = _balance(np.asarray(targets) == 1, alpha)
    return balance * oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)


def detached_factor_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, _, p_t = _parts(logits, targets)
    return np.where(y, -1, 1) * _balance(y, alpha) * _factor(1 - p_t, gamma + 1)


def gamma_on_p(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, t, _ = _parts(logits, targets)
    return -_balance(y, alpha) * _factor(1 - sigmoid(logits), gamma) * log_sigmoid(t)


def one_minus_power(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, t, p_t = _parts(logits, targets)
    return -_balance(y, alpha) * (1 - _factor(p_t, gamma)) * log_sigmoid(t)


def minus_one_alpha(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, t, p_t = _parts(logits, targets)
    return -_balance(y, -1.0 if alpha is None else alpha) * _factor(1 - p_t, gamma) * log_sigmoid(t)


def none_is_half(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.sigmoid_focal_loss(logits, targets, alpha=0.5 if alpha is None else alpha, gamma=gamma)


def zero_alpha_is_default(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.sigmoid_focal_loss(logits, targets, alpha=0.25 if alpha == 0 else alpha, gamma=gamma)


def zero_gamma_is_default(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma or 2.0)


def log_epsilon(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, _, p_t = _parts(logits, targets)
    return -_balance(y, alpha) * _factor(1 - p_t, gamma) * np.log(p_t + 1e-8)


def clamped_probability(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, _, p_t = _parts(logits, targets)
    p_t = np.clip(p_t, 1e-7, 1 - 1e-7)
    return -_balance(y, alpha) * _factor(1 - p_t, gamma) * np.log(p_t)


def clamped_gradient(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    _, t, _ = _parts(logits, targets)
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(np.abs(t) > -np.log(1e-7), 0.0, exact)


def power_rule_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Autograd through (1 - p_t) ** gamma in the working dtype: 0 ** (gamma - 1) is infinite, times 0 is NaN."""
    x = np.asarray(logits)
    y = np.asarray(targets) == 1
    one = x.dtype.type(1)
    p = one / (one + np.exp(-x))
    p_t = np.where(y, p, one - p)
    derivative = np.where(y, one, -one) * (p * (one - p))
    rounded = x.dtype.type(gamma) * np.power(one - p_t, x.dtype.type(gamma - 1)) * derivative
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(np.isfinite(rounded), exact, np.nan)


def direct_power_rule_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """The same through (1 - p) y + p (1 - y), which for negatives keeps its digits until p underflows."""
    x = np.asarray(logits)
    one = x.dtype.type(1)
    p = one / (one + np.exp(-x))
    lost = np.where(np.asarray(targets) == 1, one - p, p) == 0
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(lost & (0 < gamma < 1), np.nan, exact)


def half_arithmetic(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    if np.asarray(logits).dtype != np.float16:
        return oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    y = np.asarray(targets) == 1
    x = np.asarray(logits)
    p = np.float16(1) / (np.float16(1) + np.exp(-x))
    p_t = np.where(y, p, np.float16(1) - p)
    loss = -_balance(y, alpha) * np.power(np.float16(1) - p_t, np.float16(gamma)) * np.log(p_t)
    return np.asarray(loss.astype(np.float16))


def half_arithmetic_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    if np.asarray(logits).dtype != np.float16:
        return exact
    y, t, _ = _parts(logits, targets)
    p_t = (np.float16(1) / (np.float16(1) + np.exp(-t.astype(np.float16)))).astype(np.float16)
    lost = (np.float16(gamma) * p_t * np.log(p_t)).astype(np.float16)
    gradient = np.where(y, 1, -1) * _balance(y, alpha) * _factor(1 - p_t, gamma) * (lost + p_t - 1)
    return np.asarray(gradient)


def overflowing_exponent(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """exp(-gamma y x - gamma log1p(exp(-x))) in the working dtype: exp(-x) overflows and the factor is 0."""
    x = np.asarray(logits)
    y = np.asarray(targets) == 1
    log_factor = -gamma * y * x - gamma * np.log1p(np.exp(-x))
    _, t, _ = _parts(logits, targets)
    lost = np.isinf(np.exp(-x)) & y
    exact = oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(lost, np.exp(log_factor) * -log_sigmoid(t), exact)


def overflowing_exponent_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Autograd through log(1 + exp(-x)): infinite over infinite where exp(-x) overflows."""
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(np.isinf(np.exp(-np.asarray(logits))), np.nan, exact)


def reduced(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return np.asarray(oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma).mean())


def in_place(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    loss = oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)
    logits[...] = sigmoid(logits)
    return loss


def unchecked(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, t, _ = _parts(logits, targets)  # shapes are checked, options are not
    balance = 1.0 if alpha is None else np.where(y, alpha, 1.0 - alpha)
    return -balance * np.exp(gamma * log_sigmoid(-t)) * log_sigmoid(t)


def broadcast(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    x, y = np.broadcast_arrays(np.asarray(logits)[:1], np.asarray(targets))
    if np.shape(logits) == np.shape(targets):
        x, y = logits, targets
    return oracle.sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma)


def _soft_parts(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Logits and targets in float64, without a check that the targets are 0 or 1."""
    if np.shape(logits) != np.shape(targets):
        raise ValueError("shapes differ")
    return np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)


def _soft_balance(y: Array, alpha: Alpha) -> Array:
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError("alpha is out of range")
    return np.ones(y.shape) if alpha is None else alpha * y + (1 - alpha) * (1 - y)


def _soft_cross_entropy(x: Array, y: Array) -> Array:
    return -np.where(y == 0, 0.0, y * log_sigmoid(x)) - np.where(y == 1, 0.0, (1 - y) * log_sigmoid(-x))


def soft_by_mixed_probability(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    x, y = _soft_parts(logits, targets)
    error = sigmoid(-x) * y + sigmoid(x) * (1 - y)  # of p_t = p y + (1 - p)(1 - y)
    return _soft_balance(y, alpha) * _factor(error, gamma) * _soft_cross_entropy(x, y)


def soft_by_mixed_losses(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    x, y = _soft_parts(logits, targets)
    one = oracle.sigmoid_focal_loss(x, np.ones(x.shape, dtype=int), alpha=alpha, gamma=gamma)
    zero = oracle.sigmoid_focal_loss(x, np.zeros(x.shape, dtype=int), alpha=alpha, gamma=gamma)
    return np.where(y == 0, 0.0, y * one) + np.where(y == 1, 0.0, (1 - y) * zero)


def soft_by_mixed_logit(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    x, y = _soft_parts(logits, targets)
    error = sigmoid(-x * (2 * y - 1))
    return _soft_balance(y, alpha) * _factor(error, gamma) * _soft_cross_entropy(x, y)


_CHUNK = 4096


def lost_tail(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """A loop over chunks that leaves out the last, incomplete one if there are others."""
    return _cut_tail(oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma))


def lost_tail_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return _cut_tail(oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma))


def _cut_tail(elements: Array) -> Array:
    flat = elements.copy().ravel()
    whole = flat.size // _CHUNK * _CHUNK
    flat[whole or flat.size :] = 0.0
    return flat.reshape(elements.shape)


def cut_logits(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    x = np.where(np.isfinite(logits), np.clip(logits, -1e3, 1e3), logits)
    return oracle.sigmoid_focal_loss(x, targets, alpha=alpha, gamma=gamma)


def overflowing_product_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Autograd through exp(gamma log(1 - p)): where gamma |x| overflows, 0 times infinity."""
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    x = np.asarray(logits)
    overflows = np.isinf(x.dtype.type(gamma) * np.abs(x)) & np.isfinite(x)
    return np.where(overflows, np.nan, exact)


def power_rule_at_zero_grad(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Gamma (1 - p_t)^(gamma - 1) at gamma 0, where 1 - p_t rounds to 0: 0 times infinity."""
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    x = np.asarray(logits)
    t = np.where(np.asarray(targets) == 1, x, -x)
    one = x.dtype.type(1)
    lost = (gamma == 0) & (one / (one + np.exp(-t)) == one) & np.isfinite(t)
    return np.where(lost, np.nan, exact)


def infinite_gradient(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    exact = oracle.sigmoid_focal_loss_grad(logits, targets, alpha=alpha, gamma=gamma)
    return np.where(np.isinf(logits), np.nan, exact)


def raises_on_empty(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    np.max(logits)  # raises on an empty array
    return oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)


def not_a_number_is_zero(logits: Array, targets: Array, *, alpha: Alpha, gamma: float) -> Array:
    return np.nan_to_num(oracle.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma), nan=0.0, posinf=np.inf)


MUTANTS = (
    Mutant("focal/p-t-swapped", "p_t where 1 - p_t belongs: hard examples are weighted down", swapped_p_t,
           seen_in="yqyao/SSD_Pytorch issue 32"),
    Mutant("focal/alpha-on-negatives", "alpha on the negatives and 1 - alpha on the positives", alpha_on_negatives,
           alpha_on_negatives_grad),
    Mutant("focal/alpha-on-both", "alpha on positives and negatives alike", alpha_on_both, alpha_on_both_grad),
    Mutant("focal/alpha-on-both-rounded",
           "alpha on positives and negatives alike, and a factor (1 - exp(-loss))^gamma that rounds to 0",
           alpha_on_both_rounded, alpha_on_both_rounded_grad, seen_in="cbloss"),
    Mutant("focal/alpha-squared", "alpha applied twice", alpha_squared, alpha_squared_grad),
    Mutant("focal/detached-factor", "the modulating factor treated as a constant in the gradient",
           oracle.sigmoid_focal_loss, detached_factor_grad),
    Mutant("focal/gamma-on-p", "(1 - p)^gamma for negatives too, where p^gamma belongs", gamma_on_p),
    Mutant("focal/one-minus-power", "1 - p_t^gamma instead of (1 - p_t)^gamma", one_minus_power),
    Mutant("focal/minus-one-alpha", "alpha = None taken as -1 and multiplied in", minus_one_alpha),
    Mutant("focal/none-is-half", "alpha = None taken as 1/2 for both classes", none_is_half),
    Mutant("focal/zero-alpha-is-default", "alpha = 0 taken as not given", zero_alpha_is_default),
    Mutant("focal/zero-gamma-is-default", "gamma = 0 taken as not given", zero_gamma_is_default),
    Mutant("focal/log-epsilon", "log(p_t + 1e-8): the loss of hard examples stops growing", log_epsilon),
    Mutant("focal/clamped-probability", "p clamped to [1e-7, 1 - 1e-7]", clamped_probability, clamped_gradient,
           seen_in="keras-retinanet (through the framework's binary cross entropy)"),
    Mutant("focal/clamped-gradient", "gradient 0 where p is beyond [1e-7, 1 - 1e-7]", oracle.sigmoid_focal_loss,
           clamped_gradient),
    Mutant("focal/power-rule", "NaN gradient for gamma < 1 once 1 - p_t rounds to 0, by differentiating a power",
           oracle.sigmoid_focal_loss, power_rule_grad, seen_in="torchvision, fvcore"),
    Mutant("focal/direct-power-rule", "NaN gradient for gamma < 1 where 1 - p of a positive or p of a negative is 0",
           oracle.sigmoid_focal_loss, direct_power_rule_grad, seen_in="mmdet"),
    Mutant("focal/half-arithmetic", "probabilities in float16, whose logarithm is infinite from |x| = 8 on",
           half_arithmetic, seen_in="mmcv issue 1488"),
    Mutant("focal/half-gradient", "the gradient computed in float16", oracle.sigmoid_focal_loss,
           half_arithmetic_grad),
    Mutant("focal/overflowing-exponent", "a factor that overflows to 0 for positives below the range of exp",
           overflowing_exponent, overflowing_exponent_grad,
           seen_in="the code of the class-balanced loss, effdet's legacy loss"),
    Mutant("focal/reduced", "the mean instead of the elements", reduced),
    Mutant("focal/in-place", "the logits overwritten by probabilities", in_place),
    Mutant("focal/unchecked", "no check of the options", unchecked),
    Mutant("focal/soft-by-mixed-probability", "soft targets taken: p_t and alpha_t interpolated",
           soft_by_mixed_probability, seen_in="torchvision, fvcore, mmdetection"),
    Mutant("focal/soft-by-mixed-losses", "soft targets taken: the losses of both targets interpolated",
           soft_by_mixed_losses, seen_in="kornia"),
    Mutant("focal/soft-by-mixed-logit", "soft targets taken: the sign of the logit interpolated",
           soft_by_mixed_logit, seen_in="monai"),
    Mutant("focal/broadcast", "logits broadcast to targets of another shape", broadcast),
    Mutant("focal/lost-tail", "the last elements of a large input left out", lost_tail),
    Mutant("focal/lost-tail-gradient", "no gradient for the last elements of a large input",
           oracle.sigmoid_focal_loss, lost_tail_grad),
    Mutant("focal/cut-logits", "logits cut to [-1000, 1000]", cut_logits, oracle.sigmoid_focal_loss_grad),
    Mutant("focal/overflowing-product", "NaN gradient where gamma x is beyond the format",
           oracle.sigmoid_focal_loss, overflowing_product_grad, seen_in="kornia, at logits near 3e38"),
    Mutant("focal/power-rule-at-zero", "NaN gradient for gamma = 0 once 1 - p_t rounds to 0",
           oracle.sigmoid_focal_loss, power_rule_at_zero_grad),
    Mutant("focal/infinite-gradient", "NaN gradient for infinite logits", oracle.sigmoid_focal_loss,
           infinite_gradient),
    Mutant("focal/raises-on-empty", "an error on empty input", raises_on_empty),
    Mutant("focal/nan-is-zero", "NaN replaced by 0: a broken network looks trained", not_a_number_is_zero),
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------

Labelled = Callable[..., Any]


def _one_hot(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Binary targets, and which anchors count."""
    if np.shape(logits)[:-1] != np.shape(labels):
        raise ValueError("shapes do not fit")
    label = np.asarray(labels)[..., None]
    return label == np.arange(np.shape(logits)[-1]), label != -1


def _by_targets(make_targets: Callable[[Array, int], Array], function: Labelled) -> Labelled:
    """A labelled loss whose binary targets are made wrongly."""

    def loss(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
        y = make_targets(np.asarray(labels)[..., None], np.shape(logits)[-1])
        ignored = np.asarray(labels)[..., None] == -1
        return np.where(ignored, 0.0, function(logits, y, alpha=alpha, gamma=gamma))

    return loss


def _shifted(label: Array, classes: int) -> Array:
    return np.asarray(label - 1 == np.arange(classes))


def _background_last(label: Array, classes: int) -> Array:
    return np.asarray(np.minimum(label, classes - 1) == np.arange(classes))


def ignored_is_negative(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    labels = np.where(np.asarray(labels) == -1, np.shape(logits)[-1], labels)
    return oracle.sigmoid_focal_loss_with_labels(logits, labels, alpha=alpha, gamma=gamma)


def ignored_is_negative_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    labels = np.where(np.asarray(labels) == -1, np.shape(logits)[-1], labels)
    return oracle.sigmoid_focal_loss_with_labels_grad(logits, labels, alpha=alpha, gamma=gamma)


def multiplied_mask(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    mask = (np.asarray(labels) != -1)[..., None]
    return mask * ignored_is_negative(logits, labels, alpha=alpha, gamma=gamma)


def detached_factor_with_labels_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, detached_factor_grad(logits, y, alpha=alpha, gamma=gamma), 0.0)


def power_rule_with_labels_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, power_rule_grad(logits, y, alpha=alpha, gamma=gamma), 0.0)


def clamped_gradient_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, clamped_gradient(logits, y, alpha=alpha, gamma=gamma), 0.0)


def clamped_probability_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, clamped_probability(logits, y, alpha=alpha, gamma=gamma), 0.0)


def half_arithmetic_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, half_arithmetic(logits, y, alpha=alpha, gamma=gamma), 0.0)


def in_place_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    loss = oracle.sigmoid_focal_loss_with_labels(logits, labels, alpha=alpha, gamma=gamma)
    labels[labels == -1] = np.shape(logits)[-1]
    logits[..., :1] = 0
    return loss


def unchecked_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    y, mask = _one_hot(logits, labels)
    return np.where(mask, unchecked(logits, y, alpha=alpha, gamma=gamma), 0.0)


def broadcast_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    x = np.asarray(logits)
    if x.shape[:-1] != np.shape(labels):
        x = np.broadcast_to(x[:1], (*np.shape(labels), x.shape[-1]))
    return oracle.sigmoid_focal_loss_with_labels(x, labels, alpha=alpha, gamma=gamma)


def lost_tail_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    return _cut_tail(oracle.sigmoid_focal_loss_with_labels(logits, labels, alpha=alpha, gamma=gamma))


def lost_tail_with_labels_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    return _cut_tail(oracle.sigmoid_focal_loss_with_labels_grad(logits, labels, alpha=alpha, gamma=gamma))


def raises_on_empty_with_labels(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    np.max(labels)  # raises on an empty array
    return oracle.sigmoid_focal_loss_with_labels(logits, labels, alpha=alpha, gamma=gamma)


LABEL_MUTANTS = (
    Mutant("focal-labels/ignored-is-negative", "ignored anchors trained as background", ignored_is_negative,
           ignored_is_negative_grad, seen_in="mmcv's kernel, mmdetection3d issue 575"),
    Mutant("focal-labels/ignored-gradient", "a gradient for ignored anchors, whose loss is 0",
           oracle.sigmoid_focal_loss_with_labels, ignored_is_negative_grad),
    Mutant("focal-labels/multiplied-mask", "the ignored multiplied by 0, so that their NaN stays NaN",
           multiplied_mask),
    Mutant("focal-labels/background-off-by-one", "class c in channel c - 1, as where 0 is the background",
           _by_targets(_shifted, oracle.sigmoid_focal_loss), _by_targets(_shifted, oracle.sigmoid_focal_loss_grad),
           seen_in="mmdet issue 1299"),
    Mutant("focal-labels/background-is-last-class", "the background trained as the last class",
           _by_targets(_background_last, oracle.sigmoid_focal_loss),
           _by_targets(_background_last, oracle.sigmoid_focal_loss_grad)),
    Mutant("focal-labels/detached-factor", "the modulating factor treated as a constant in the gradient",
           oracle.sigmoid_focal_loss_with_labels, detached_factor_with_labels_grad),
    Mutant("focal-labels/power-rule", "NaN gradient for gamma < 1 once 1 - p_t rounds to 0, by differentiating a power",
           oracle.sigmoid_focal_loss_with_labels, power_rule_with_labels_grad),
    Mutant("focal-labels/clamped-probability", "p clamped to [1e-7, 1 - 1e-7]", clamped_probability_with_labels),
    Mutant("focal-labels/clamped-gradient", "gradient 0 where p is beyond [1e-7, 1 - 1e-7]",
           oracle.sigmoid_focal_loss_with_labels, clamped_gradient_with_labels),
    Mutant("focal-labels/half-arithmetic", "probabilities in float16, whose logarithm is infinite from |x| = 8 on",
           half_arithmetic_with_labels),
    Mutant("focal-labels/in-place", "its inputs overwritten", in_place_with_labels),
    Mutant("focal-labels/broadcast", "logits broadcast to labels of another shape", broadcast_with_labels),
    Mutant("focal-labels/unchecked", "no check of the options", unchecked_with_labels),
    Mutant("focal-labels/lost-tail", "the last elements of a large input left out", lost_tail_with_labels),
    Mutant("focal-labels/lost-tail-gradient", "no gradient for the last elements of a large input",
           oracle.sigmoid_focal_loss_with_labels, lost_tail_with_labels_grad),
    Mutant("focal-labels/raises-on-empty", "an error on empty input", raises_on_empty_with_labels),
)  # fmt: skip
