"""Wrong authentic smooth L1 losses and GHM regression losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.plain_mistakes import (
    broadcasting,
    cutting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    replacing_nan,
    unchecked,
    without_mask,
)
from steelyard.conformance.soft_sampling.ghm_mutants import (
    Loss,
    Mean,
    as_half,
    clamped,
    fixed,
    half_sum,
    ignored_derivative,
    legal_loss,
    multiplied_mask,
    reduced,
    shared_exact_mutants,
    shared_mutants,
)
from steelyard.conformance.soft_sampling.gradient_density_mutants import (
    Both,
    legal_epsilon,
    right_regions,
    right_windows,
)
from steelyard.reference.soft_sampling import ghm_regression as oracle
from steelyard.reference.soft_sampling.gradient_density import harmonized_mean_terms

FURTHEST = 2e3
Values = Callable[..., Array]
_ASL, _ASL_GRADIENT = oracle.authentic_smooth_l1_loss, oracle.authentic_smooth_l1_loss_grad
_NORM = oracle.authentic_smooth_l1_gradient_norm


def _difference(predictions: Array, targets: Array, mu: float) -> Array:
    _ASL(predictions, targets, mu=mu)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)


# --- element losses -------------------------------------------------------------------------------------------


def without_offset(predictions: Array, targets: Array, *, mu: float) -> Array:
    return _ASL(predictions, targets, mu=mu) + mu


def mu_not_squared(predictions: Array, targets: Array, *, mu: float) -> Array:
    d = _difference(predictions, targets, mu)
    return np.sqrt(d * d + mu) - np.sqrt(mu)


def mu_not_squared_grad(predictions: Array, targets: Array, *, mu: float) -> Array:
    d = _difference(predictions, targets, mu)
    return d / np.sqrt(d * d + mu)


def pseudo_huber(predictions: Array, targets: Array, *, mu: float) -> Array:
    return mu * _ASL(predictions, targets, mu=mu)


def pseudo_huber_grad(predictions: Array, targets: Array, *, mu: float) -> Array:
    return mu * _ASL_GRADIENT(predictions, targets, mu=mu)


def smooth_l1(predictions: Array, targets: Array, *, mu: float) -> Array:
    d = np.abs(_difference(predictions, targets, mu))
    return np.where(d < mu, d * np.minimum(d, mu) / (2 * mu), d - mu / 2)


def smooth_l1_grad(predictions: Array, targets: Array, *, mu: float) -> Array:
    return np.clip(_difference(predictions, targets, mu) / mu, -1.0, 1.0)


def l1(predictions: Array, targets: Array, *, mu: float) -> Array:
    return np.abs(_difference(predictions, targets, mu))


def l1_grad(predictions: Array, targets: Array, *, mu: float) -> Array:
    return np.sign(_difference(predictions, targets, mu))


def reversed_gradient(predictions: Array, targets: Array, *, mu: float) -> Array:
    return _ASL_GRADIENT(targets, predictions, mu=mu)


def _overflown(predictions: Array, targets: Array, *, half: bool) -> Array:
    """Where the square of a finite difference is infinite in the working dtype: float16, or another."""
    p, t = np.asarray(predictions), np.asarray(targets)
    if half != (p.dtype == np.float16):
        return np.zeros(p.shape, np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        d = p - t
        return np.asarray(np.isinf(d * d) & np.isfinite(d))


def _squaring(function: Values, *, half: bool, spoilt: float) -> Values:
    def mutant(predictions: Array, targets: Array, *, mu: float) -> Array:
        right = function(predictions, targets, mu=mu)
        return np.where(_overflown(predictions, targets, half=half), spoilt, right)

    return mutant


def kinked_grad(predictions: Array, targets: Array, *, mu: float) -> Array:
    """NaN at a difference of 0, as of |d| / d."""
    d = _difference(predictions, targets, mu)
    return np.where(d == 0.0, np.nan, _ASL_GRADIENT(predictions, targets, mu=mu))


def infinite_by_infinite(predictions: Array, targets: Array, *, mu: float) -> Array:
    d = _difference(predictions, targets, mu)
    return np.where(np.isinf(d), np.nan, _ASL_GRADIENT(predictions, targets, mu=mu))


def at_least_tiny(mu: float) -> float:
    """What an implementation without checks makes of a mu out of range."""
    return max(mu, 1e-30)


SMOOTH_L1_MUTANTS = (
    Mutant("authentic-smooth-l1/without-offset", "no - mu at the end", without_offset),
    Mutant("authentic-smooth-l1/mu-not-squared", "mu for mu squared", mu_not_squared, mu_not_squared_grad),
    Mutant("authentic-smooth-l1/pseudo-huber", "the pseudo-Huber loss, mu times as large", pseudo_huber,
           pseudo_huber_grad),
    Mutant("authentic-smooth-l1/smooth-l1", "the smooth L1 loss with its bend at mu", smooth_l1, smooth_l1_grad),
    Mutant("authentic-smooth-l1/l1", "the L1 loss", l1, l1_grad),
    Mutant("authentic-smooth-l1/fixed-mu", "mu = 0.02 whatever was asked for", fixed(mu=0.02)(_ASL),
           fixed(mu=0.02)(_ASL_GRADIENT)),
    Mutant("authentic-smooth-l1/reversed-gradient", "the gradient with respect to the target", _ASL,
           reversed_gradient),
    Mutant("authentic-smooth-l1/kinked-gradient", "NaN gradient where the prediction is the target", _ASL,
           kinked_grad),
    Mutant("authentic-smooth-l1/squared", "a square that is infinite in the working format, from 2e19 in float32",
           _squaring(_ASL, half=False, spoilt=np.inf)),
    Mutant("authentic-smooth-l1/squared-gradient", "a square that is infinite in the gradient, which then is 0",
           _ASL, _squaring(_ASL_GRADIENT, half=False, spoilt=0.0)),
    Mutant("authentic-smooth-l1/half-square", "a square that is infinite from 256 in float16",
           _squaring(_ASL, half=True, spoilt=np.inf)),
    Mutant("authentic-smooth-l1/half-square-gradient", "gradient 0 from 256 in float16", _ASL,
           _squaring(_ASL_GRADIENT, half=True, spoilt=0.0), seen_in="mmdet"),
    Mutant("authentic-smooth-l1/cut-predictions", "predictions cut to [-1000, 1000]",
           cutting(_ASL, "predictions", 1e3), _ASL_GRADIENT),
    Mutant("authentic-smooth-l1/clamped-gradient", "no gradient for differences above 2000", _ASL,
           clamped(_ASL_GRADIENT, lambda predictions, targets, **_: np.abs(_difference(predictions, targets, 1.0)),
                   FURTHEST)),
    Mutant("authentic-smooth-l1/nan-is-zero", "NaN replaced by 0: a broken network looks trained",
           replacing_nan(_ASL)),
    Mutant("authentic-smooth-l1/lost-tail", "the last elements of a large input left out", losing_the_tail(_ASL)),
    Mutant("authentic-smooth-l1/lost-tail-gradient", "no gradient for the last elements of a large input", _ASL,
           losing_the_tail(_ASL_GRADIENT)),
    Mutant("authentic-smooth-l1/in-place", "its inputs overwritten", overwriting(_ASL, "predictions", "targets")),
    Mutant("authentic-smooth-l1/unchecked", "no check of mu", unchecked(_ASL, mu=at_least_tiny)),
    Mutant("authentic-smooth-l1/broadcast", "targets broadcast to predictions of another shape",
           broadcasting(_ASL, "targets", "predictions")),
    Mutant("authentic-smooth-l1/raises-on-empty", "an error on empty input", failing_on_empty(_ASL, "predictions")),
    Mutant("authentic-smooth-l1/fixed-mu-value", "the value of mu = 0.02 whatever was asked for",
           fixed(mu=0.02)(_ASL)),
    Mutant("authentic-smooth-l1/fixed-mu-gradient", "the gradient of mu = 0.02 whatever was asked for", _ASL,
           fixed(mu=0.02)(_ASL_GRADIENT)),
    Mutant("authentic-smooth-l1/infinite-by-infinite", "NaN gradient of an infinite difference", _ASL,
           infinite_by_infinite),
)  # fmt: skip


# --- harmonized losses ----------------------------------------------------------------------------------------

Named = dict[str, Array]


def _norms(predictions: Array, targets: Array, mu: float, norm: Values) -> Array:
    return as_half(norm(predictions, targets, mu=mu), predictions)


def regression(
    weigh: Callable[..., Both] = right_regions,
    values: Values = _ASL,
    mean: Mean = harmonized_mean_terms,
    norm: Values = _NORM,
) -> Loss:
    """GHM-R of some weights, element losses, mean and gradient norm."""

    def loss(
        predictions: Array,
        targets: Array,
        valid: Array,
        state: Array,
        *,
        mu: float,
        reduction: str,
        **options: Any,  # noqa: ANN401
    ) -> Both:
        weights, new_state = weigh(
            gradient_norms=_norms(predictions, targets, mu, norm), valid=valid, state=state, **options
        )
        return reduced(mean(values(predictions, targets, mu=mu), weights, valid), reduction), new_state

    return loss


def regression_grad(
    weigh: Callable[..., Both] = right_regions,
    mean: Mean = harmonized_mean_terms,
    slope: Values = _ASL_GRADIENT,
    norm: Values = _NORM,
) -> Loss:
    """Its derivative."""

    def derivative(
        predictions: Array,
        targets: Array,
        valid: Array,
        state: Array,
        *,
        mu: float,
        reduction: str,
        **options: Any,  # noqa: ANN401
    ) -> Array:
        weights, _ = weigh(gradient_norms=_norms(predictions, targets, mu, norm), valid=valid, state=state, **options)
        return mean(slope(predictions, targets, mu=mu), weights, valid)

    return derivative


def exact_regression(
    weigh: Callable[..., Array] = right_windows,
    values: Values = _ASL,
    mean: Mean = harmonized_mean_terms,
    norm: Values = _NORM,
) -> Loss:
    """The same with the exact density."""

    def loss(predictions: Array, targets: Array, valid: Array, *, epsilon: float, mu: float, reduction: str) -> Array:
        weights = weigh(gradient_norms=_norms(predictions, targets, mu, norm), valid=valid, epsilon=epsilon)
        return reduced(mean(values(predictions, targets, mu=mu), weights, valid), reduction)

    return loss


def exact_regression_grad(
    weigh: Callable[..., Array] = right_windows,
    mean: Mean = harmonized_mean_terms,
    slope: Values = _ASL_GRADIENT,
    norm: Values = _NORM,
) -> Loss:
    """Its derivative."""

    def derivative(predictions: Array, targets: Array, valid: Array, **options: Any) -> Array:  # noqa: ANN401
        terms = exact_regression(weigh, slope, mean, norm)(
            predictions, targets, valid, **{**options, "reduction": "none"}
        )
        return np.asarray(terms)

    return derivative


def _kinked_norm(predictions: Array, targets: Array, *, mu: float) -> Array:
    return np.abs(smooth_l1_grad(predictions, targets, mu=mu))


def _size(predictions: Array, targets: Array, **_: Any) -> Array:  # noqa: ANN401
    return np.abs(_difference(predictions, targets, 1.0))


_HALF_NORM = _squaring(_NORM, half=True, spoilt=0.0)
_HALF_VALUES = _squaring(_ASL, half=True, spoilt=np.inf)


_HALF_SLOPE = _squaring(_ASL_GRADIENT, half=True, spoilt=0.0)


def one_for_all(function: Loss, *names: str) -> Loss:
    """Arrays of these names repeated as arithmetic does it: one element for all of them."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        repeated = np.broadcast_arrays(*(keywords[name] for name in names))
        return function(**{**keywords, **dict(zip(names, repeated, strict=True))})

    return mutant


def _family(name: str, loss: Loss, grad: Loss, build: Loss, build_grad: Loss) -> list[Mutant]:
    """Mistakes of the element loss and of its gradient norm."""
    return [
        Mutant(f"{name}/smooth-l1-norm", "the gradient norm of smooth L1, 1 for every difference above mu",
               build(norm=_kinked_norm), build_grad(norm=_kinked_norm)),
        Mutant(f"{name}/smooth-l1", "smooth L1 for both loss and gradient norm",
               build(values=smooth_l1, norm=_kinked_norm), build_grad(slope=smooth_l1_grad, norm=_kinked_norm)),
        Mutant(f"{name}/l1", "the L1 loss with the weights of the authentic smooth one", build(values=l1),
               build_grad(slope=l1_grad)),
        Mutant(f"{name}/without-offset", "no - mu at the end of the element loss", build(values=without_offset)),
        Mutant(f"{name}/mu-not-squared", "mu for mu squared", build(values=mu_not_squared, norm=lambda p, t, mu: np.abs(
            mu_not_squared_grad(p, t, mu=mu))), build_grad(slope=mu_not_squared_grad, norm=lambda p, t, mu: np.abs(
                mu_not_squared_grad(p, t, mu=mu)))),
        Mutant(f"{name}/fixed-mu", "mu = 0.02 whatever was asked for", fixed(mu=0.02)(loss), fixed(mu=0.02)(grad)),
        Mutant(f"{name}/fixed-mu-gradient", "the gradient of mu = 0.02 whatever was asked for", loss,
               fixed(mu=0.02)(grad)),
        Mutant(f"{name}/half-square", "a square that is infinite from 256 in float16", build(
            values=_HALF_VALUES, norm=_HALF_NORM)),
        Mutant(f"{name}/half-square-gradient", "no gradient from 256 in float16", loss,
               build_grad(slope=_HALF_SLOPE)),
        Mutant(f"{name}/cut-predictions", "predictions cut to [-1000, 1000]", cutting(loss, "predictions", 1e3), grad),
        Mutant(f"{name}/clamped-gradient", "no gradient for differences above 2000", loss,
               clamped(grad, _size, FURTHEST)),
        Mutant(f"{name}/reversed-gradient", "the gradient with respect to the target", loss,
               build_grad(slope=reversed_gradient)),
        Mutant(f"{name}/ignored-gradient", "a gradient for what is not valid", loss,
               build_grad(mean=ignored_derivative)),
    ]  # fmt: skip


_LOSS, _GRADIENT = oracle.ghm_regression_loss, oracle.ghm_regression_loss_grad
_EXACT, _EXACT_GRADIENT = oracle.exact_ghm_regression_loss, oracle.exact_ghm_regression_loss_grad


def _unchecked(mutants: list[Mutant], function: Loss, **legal: Callable[[Any], Any]) -> list[Mutant]:
    """The list with a mutant that does not check mu either, and without one that no exact pair of norms shows.

    A window that holds its upper end is wrong for the lower of two examples. The only lower gradient norm whose
    distance to another is exact is 0, and its loss is 0.
    """
    return [
        Mutant(m.id, m.summary, unchecked(function, mu=at_least_tiny, **legal)) if m.id.endswith("/unchecked") else m
        for m in mutants
        if not m.id.endswith("/closed-window")
    ]


MUTANTS = (
    *_unchecked(shared_mutants("ghm-regression", _LOSS, _GRADIENT, regression, regression_grad, first="predictions",
                               second="targets"), _LOSS, **legal_loss()),
    *_family("ghm-regression", _LOSS, _GRADIENT, regression, regression_grad),
    Mutant("ghm-regression/half-square-and-mask",
           "a square that is infinite from 256 in float16: NaN where it is not valid and multiplied by 0, gradient 0",
           half_sum(regression(values=_HALF_VALUES, norm=_HALF_NORM, mean=multiplied_mask)),
           regression_grad(slope=_HALF_SLOPE, norm=_HALF_NORM), seen_in="mmdet"),
    Mutant("ghm-regression/one-for-all", "a single target for all predictions",
           one_for_all(_LOSS, "predictions", "targets", "valid"), seen_in="mmdet"),
    Mutant("ghm-regression/no-mask-is-none", "no example without a mask",
           without_mask(_LOSS, "valid", "predictions")),
)  # fmt: skip
EXACT_MUTANTS = (
    *_unchecked(shared_exact_mutants("exact-ghm-regression", _EXACT, _EXACT_GRADIENT, exact_regression,
                                     exact_regression_grad, first="predictions", second="targets"), _EXACT,
                epsilon=legal_epsilon, reduction=legal_loss()["reduction"]),
    *_family("exact-ghm-regression", _EXACT, _EXACT_GRADIENT, exact_regression, exact_regression_grad),
)  # fmt: skip
