r"""Two quantities of every sigmoid loss whose target is a number in [0, 1] instead of a class or none.

Source: quality focal loss (arXiv 2006.04388, equation 2) and varifocal loss (arXiv 2008.13367, equation 2)
are both written with the cross entropy against a soft target and with the distance of the score from it.

For a target of exactly 0 or 1 both keep the full relative accuracy of the hard losses; in between, the distance is as
accurate as the target itself.
"""

import numpy as np

from steelyard.reference.checks import Float
from steelyard.reference.logistic import sigmoid, softplus


def soft_cross_entropy(x: Float, y: Float) -> Float:
    r"""$-y \log\sigma(x) - (1 - y) \log(1 - \sigma(x))$; an infinite logit that is right costs 0.

    >>> soft_cross_entropy(np.array([0.0, 0.0]), np.array([0.7, 1.0])).round(6)
    array([0.693147, 0.693147])
    """
    return weighted(y, softplus(-x)) + weighted(1.0 - y, softplus(x))


def score_minus_target(x: Float, y: Float) -> Float:
    r"""$\delta = \sigma(x) - y$ as $(1 - y) \, \sigma(x) - y \, (1 - \sigma(x))$; at both ends one term is left.

    >>> score_minus_target(np.array([0.0, 40.0]), np.array([0.75, 1.0])).tolist()
    [-0.25, -4.248354255291589e-18]
    """
    return (1.0 - y) * sigmoid(x) - y * sigmoid(-x)


def weighted(weight: Float | float, loss: Float) -> Float:
    """Weight times loss; a weight of 0 annuls an infinite loss too.

    >>> weighted(np.array([0.5, 0.0]), np.array([3.0, np.inf]))
    array([1.5, 0. ])
    """
    with np.errstate(invalid="ignore"):  # 0 * inf
        return np.where(weight == 0.0, 0.0, weight * loss)
