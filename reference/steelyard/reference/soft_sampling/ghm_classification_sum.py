r"""Sum of the harmonized cross entropies: GHM-C before its division by the number of examples.

Source: Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equation 8, without
its factor $1/N$. Libraries call it the reduction "sum", and the loss itself "mean": for who divides by another number,
as that of the objects, or adds up mini-batches first.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, bool_array
from steelyard.reference.soft_sampling.ghm import (
    cross_entropy_gradient_norm,
    ghm_classification_loss,
    ghm_classification_loss_grad,
)


def ghm_classification_sum(
    logits: ArrayLike, targets: ArrayLike, valid: ArrayLike, *, bins: int = 10, norm: str = "nonempty"
) -> np.float64:
    r"""Sum of the harmonized losses, in nats; without a moving average.

    $$ \sum_{i=1}^{N} \hat\beta_i \, \mathrm{CE}(x_i, y_i) = N \, L $$

    with $L$ of `ghm_classification_loss`.

    Parameters
    ----------
    logits : float, shape (...)
        $x$, any value.
    targets : int or bool, shape of `logits`
        $y$, each 0 or 1.
    valid : bool, shape of `logits`
        Which elements are examples.
    bins, norm
        As in `unit_region_weights`.

    Returns
    -------
    float64, a scalar
        0 if there is no example.

    Raises
    ------
    SpecError
        Shapes differ, a target is not 0 or 1, an option is out of range.

    Source
    ------
    Paper, equation 8.

    Examples
    --------
    Three examples at a gradient norm of 1/2 and an easy one: four times the mean of $\ln 2$ and 0.018150.

    >>> ghm_classification_sum([0.0, 0.0, 0.0, -4.0], [0, 1, 0, 0], [1, 1, 1, 1]).round(6)
    np.float64(1.422594)
    """
    # RESULT
    mean = ghm_classification_loss(logits, targets, valid, bins=bins, norm=norm).loss
    return np.float64(_examples(logits, targets, valid) * mean)


def ghm_classification_sum_grad(
    logits: ArrayLike, targets: ArrayLike, valid: ArrayLike, *, bins: int = 10, norm: str = "nonempty"
) -> Float:
    r"""Derivative of `ghm_classification_sum` with respect to every logit, $\hat\beta_i (\sigma(x_i) - y_i)$.

    Parameters, errors: as `ghm_classification_sum`. Returns float64, shape of `logits`.

    Source
    ------
    Paper, section on GHM-C: the weights are constants.

    Examples
    --------
    >>> ghm_classification_sum_grad([0.0, 0.0, 0.0, -4.0], [0, 1, 0, 0], [1, 1, 1, 1]).round(6)
    array([ 0.333333, -0.333333,  0.333333,  0.035972])
    """
    # RESULT
    slope = ghm_classification_loss_grad(logits, targets, valid, bins=bins, norm=norm)
    return _examples(logits, targets, valid) * slope


def _examples(logits: ArrayLike, targets: ArrayLike, valid: ArrayLike) -> int:
    """N: valid, and a number."""
    norms = cross_entropy_gradient_norm(logits, targets)
    return int(np.count_nonzero(bool_array("valid", valid, shape=norms.shape) & ~np.isnan(norms)))
