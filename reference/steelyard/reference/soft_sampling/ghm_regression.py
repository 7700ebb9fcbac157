r"""GHM-R: gradient harmonizing for box regression, on the authentic smooth L1 loss.

Source: Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), section on
GHM-R; the authors' code (libuyu/GHM_Detection).

Under smooth L1 every error beyond the threshold has gradient norm 1 exactly, so that outliers cannot be told
apart by it. The authentic smooth L1 loss $\sqrt{d^2 + \mu^2} - \mu$ bends smoothly instead: its gradient norm
grows with $|d|$ everywhere and lies in [0, 1), as the density needs it. Every coordinate of a box is one example.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, float_array, mask_array, one_of, positive
from steelyard.reference.soft_sampling.ghm import REDUCTIONS, GHMLoss
from steelyard.reference.soft_sampling.gradient_density import (
    harmonized_mean_terms,
    harmonizing_weights,
    unit_region_weights,
)


def authentic_smooth_l1_loss(predictions: ArrayLike, targets: ArrayLike, *, mu: float = 0.02) -> Float:
    r"""Authentic smooth L1 loss of every coordinate.

    With $d$ the prediction less the target:

    $$ \mathrm{ASL}_1(d) = \sqrt{d^2 + \mu^2} - \mu = \frac{d^2}{\sqrt{d^2 + \mu^2} + \mu} $$

    About $d^2 / 2\mu$ for $|d| \ll \mu$ and $|d| - \mu$ for $|d| \gg \mu$. The second form does not cancel.

    Parameters
    ----------
    predictions, targets : float, same shape (...)
        Box deltas, any values. An infinite difference gives the limit, NaN gives NaN.
    mu : float > 0
        $\mu$ (paper: 0.02).

    Returns
    -------
    float64 >= 0, shape of `predictions`

    Raises
    ------
    SpecError
        Shapes differ, `mu` is out of range.

    Source
    ------
    Paper, section on GHM-R.

    Examples
    --------
    A right triangle: $\sqrt{3^2 + 4^2} - 4$.

    >>> authentic_smooth_l1_loss([3.0, 0.0], [0.0, 0.0], mu=4.0)
    array([1., 0.])
    """
    # CHECKS
    size = np.abs(_difference(predictions, targets))
    mu = positive("mu", mu)

    # RESULT
    return size * _share(size, np.hypot(size, mu) + mu)


def authentic_smooth_l1_loss_grad(predictions: ArrayLike, targets: ArrayLike, *, mu: float = 0.02) -> Float:
    r"""Derivative of `authentic_smooth_l1_loss` with respect to the prediction: $d / \sqrt{d^2 + \mu^2}$.

    That with respect to the target is its negative.

    Parameters, errors: as `authentic_smooth_l1_loss`. Returns float64 in [-1, 1], shape of `predictions`.

    Source
    ------
    Paper, section on GHM-R.

    Examples
    --------
    >>> authentic_smooth_l1_loss_grad([3.0, -3.0], [0.0, 0.0], mu=4.0)
    array([ 0.6, -0.6])
    """
    # CHECKS
    d = _difference(predictions, targets)
    mu = positive("mu", mu)

    # RESULT
    return np.sign(d) * _share(np.abs(d), np.hypot(d, mu))


def authentic_smooth_l1_gradient_norm(predictions: ArrayLike, targets: ArrayLike, *, mu: float = 0.02) -> Float:
    r"""Gradient norm of every coordinate: $gr = |d| / \sqrt{d^2 + \mu^2}$.

    Parameters, errors: as `authentic_smooth_l1_loss`. Returns float64 in [0, 1], shape of `predictions`; 1 is
    reached by rounding only.

    Source
    ------
    Paper, section on GHM-R.

    Examples
    --------
    >>> authentic_smooth_l1_gradient_norm([3.0, -3.0], [0.0, 0.0], mu=4.0)
    array([0.6, 0.6])
    """
    # RESULT
    return np.abs(authentic_smooth_l1_loss_grad(predictions, targets, mu=mu))


def ghm_regression_loss(  # noqa: PLR0913 - each option is a choice between paper and code
    predictions: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    mu: float = 0.02,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> GHMLoss:
    r"""GHM-R with unit regions, and the new moving average.

    $$ L = \frac1N \sum_{i=1}^{N} \hat\beta_i \, \mathrm{ASL}_1(d_i) $$

    with $\hat\beta$ of `unit_region_weights` at $gr_i = |d_i| / \sqrt{d_i^2 + \mu^2}$.

    Parameters
    ----------
    predictions, targets : float, same shape (...)
        Box deltas, any values. NaN is not an example, it gives NaN in its own element.
    valid : bool, shape of `predictions`, or None
        Which coordinates are examples: those of foreground boxes. None: all.
    state : float >= 0, shape (bins,), or None
        Moving average of the region counts before this call; None: zeros.
    mu : float > 0
        $\mu$ (paper: 0.02).
    bins, norm, momentum, ema
        As in `unit_region_weights` (authors' configuration: 10 regions, momentum 0.7, loss weight 10).
    reduction : "sum" or "none"
        "none" returns the terms $\hat\beta_i \, \mathrm{ASL}_1(d_i) / N$, whose sum is the loss.

    Returns
    -------
    loss : float64, a scalar, or shape of `predictions` for ``reduction="none"``
        0 if there is no example.
    state : float64, shape (bins,)
        The moving average after this call; as given if `momentum` is None.

    Raises
    ------
    SpecError
        Shapes differ, an option is out of range.

    Source
    ------
    Paper, section on GHM-R, and the authors' code. Ruling: N is the number of valid coordinates.

    Examples
    --------
    Gradient norms 0.6, 0.6 and 0.8: two regions with mean losses 1 and 8/3, here with $\mu = 4$.

    >>> ghm_regression_loss([3.0, -3.0, 16 / 3], [0.0, 0.0, 0.0], mu=4.0).loss.round(6)
    np.float64(1.833333)
    """
    # CHECKS
    is_valid = _mask(predictions, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    gr = authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu)
    beta, new_state = unit_region_weights(gr, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema)
    terms = harmonized_mean_terms(authentic_smooth_l1_loss(predictions, targets, mu=mu), beta, is_valid)

    # RESULT
    return GHMLoss(terms.sum() if reduction == "sum" else terms, new_state)


def ghm_regression_loss_grad(  # noqa: PLR0913 - each option is a choice between paper and code
    predictions: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    mu: float = 0.02,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> Float:
    r"""Derivative of the loss of `ghm_regression_loss` with respect to every prediction.

    $$ \frac{\partial L}{\partial d_i} = \frac{\hat\beta_i}{N} \, \frac{d_i}{\sqrt{d_i^2 + \mu^2}} $$

    $\hat\beta$ is a constant. The derivative with respect to the target is the negative.

    Parameters, errors: as `ghm_regression_loss`; `reduction` changes nothing. Returns float64, shape of
    `predictions`.

    Source
    ------
    Paper, section on GHM-R.

    Examples
    --------
    >>> ghm_regression_loss_grad([3.0, -3.0, 16 / 3], [0.0, 0.0, 0.0], mu=4.0)
    array([ 0.15, -0.15,  0.4 ])
    """
    # CHECKS
    is_valid = _mask(predictions, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    gr = authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu)
    beta, _ = unit_region_weights(gr, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema)

    # RESULT
    return harmonized_mean_terms(authentic_smooth_l1_loss_grad(predictions, targets, mu=mu), beta, is_valid)


def exact_ghm_regression_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    epsilon: float,
    mu: float = 0.02,
    reduction: str = "sum",
) -> Float | np.float64:
    r"""GHM-R with the exact gradient density.

    $$ L = \frac1N \sum_{i=1}^{N} \beta_i \, \mathrm{ASL}_1(d_i)
         = \sum_{i=1}^{N} \frac{\mathrm{ASL}_1(d_i)}{\mathrm{GD}(gr_i)} $$

    Parameters
    ----------
    predictions, targets, valid, mu, reduction
        As in `ghm_regression_loss`.
    epsilon : float in (0, 2]
        Length of the window of `gradient_density`.

    Returns
    -------
    float64, a scalar, or shape of `predictions` for ``reduction="none"``

    Raises
    ------
    SpecError
        As `ghm_regression_loss`.

    Source
    ------
    Paper, equations 4 to 7 and section on GHM-R.

    Examples
    --------
    Both at gradient norm 0.6, so $\beta = 2 \cdot 0.25 / 2$; the element losses are 1.

    >>> exact_ghm_regression_loss([3.0, -3.0], [0.0, 0.0], mu=4.0, epsilon=0.25)
    np.float64(0.25)
    """
    # CHECKS
    is_valid = _mask(predictions, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    gr = authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu)
    beta = harmonizing_weights(gr, is_valid, epsilon=epsilon)
    terms = harmonized_mean_terms(authentic_smooth_l1_loss(predictions, targets, mu=mu), beta, is_valid)

    # RESULT
    return terms.sum() if reduction == "sum" else terms


def exact_ghm_regression_loss_grad(
    predictions: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    epsilon: float,
    mu: float = 0.02,
    reduction: str = "sum",
) -> Float:
    r"""Derivative of `exact_ghm_regression_loss` with respect to every prediction.

    $\beta_i \, \mathrm{ASL}_1'(d_i) / N$: $\beta$ is a constant, its window length too.

    Parameters, errors: as `exact_ghm_regression_loss`; `reduction` changes nothing. Returns float64, shape of
    `predictions`.

    Source
    ------
    Paper, section on GHM-R.

    Examples
    --------
    >>> exact_ghm_regression_loss_grad([3.0, -3.0], [0.0, 0.0], mu=4.0, epsilon=0.25)
    array([ 0.075, -0.075])
    """
    # CHECKS
    is_valid = _mask(predictions, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    gr = authentic_smooth_l1_gradient_norm(predictions, targets, mu=mu)
    beta = harmonizing_weights(gr, is_valid, epsilon=epsilon)

    # RESULT
    return harmonized_mean_terms(authentic_smooth_l1_loss_grad(predictions, targets, mu=mu), beta, is_valid)


def _difference(predictions: ArrayLike, targets: ArrayLike) -> Float:
    prediction = float_array("predictions", predictions)
    target = float_array("targets", targets, shape=prediction.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf is NaN
        return prediction - target


def _share(size: Float, length: Float) -> Float:
    """Size by length; infinite by infinite is 1, the limit."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(size), 1.0, size / length)


def _mask(predictions: ArrayLike, valid: ArrayLike | None) -> Bool:
    return mask_array("valid", valid, float_array("predictions", predictions).shape)
