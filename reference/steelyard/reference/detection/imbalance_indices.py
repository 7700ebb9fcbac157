r"""Ratios of imbalance: one number for a vector of counts.

Source: Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv 1909.00169), section
4; Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019 (arXiv 1901.05555), equation
2; Gini, "Variabilità e mutabilità", 1912.

Throughout, $n_c \ge 0$ is the count (or sum of weights) of class $c$ of C declared classes, $S = \sum_c n_c$ and
$p_c = n_c / S$. Classes that do not occur stay in C unless ``present_only``. Logarithms are natural. Where $S = 0$
nothing can be said: NaN. Every function has these errors: `SpecError` where the counts are not one axis of at least
one finite number >= 0, or a parameter is out of range.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, count_vector, fraction


def background_to_foreground(background: float, foreground: float) -> float:
    r"""Background candidates for each foreground one: $R = n_{bg} / n_{fg}$.

    Parameters
    ----------
    background, foreground : float >= 0
        Totals of a data set. (The mean of the ratios of single images is another number.)

    Returns
    -------
    float
        Infinite without foreground; NaN without both.

    Source
    ------
    Review, section 4.1. Ruling: ignored candidates are in neither number.

    Examples
    --------
    The review's figure: about a thousand to one.

    >>> round(background_to_foreground(166827.50, 163.04), 3)
    1023.23
    """
    # CHECKS
    n_bg, n_fg = count_vector("background, foreground", [background, foreground])

    # RESULT
    with np.errstate(divide="ignore", invalid="ignore"):  # x / 0 is infinite, 0 / 0 is NaN
        return float(n_bg / n_fg)


def foreground_share(background: float, foreground: float) -> float:
    r"""$n_{fg} / (n_{fg} + n_{bg})$.

    Parameters
    ----------
    background, foreground : float >= 0
        Totals of a data set.

    Returns
    -------
    float
        In [0, 1]; NaN without both.

    Source
    ------
    Review, section 4.1.

    Examples
    --------
    >>> foreground_share(3, 1)
    0.25
    """
    # CHECKS
    n_bg, n_fg = count_vector("background, foreground", [background, foreground])

    # RESULT
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return float(n_fg / (n_fg + n_bg))


def imbalance_ratio(counts: ArrayLike, *, present_only: bool = False) -> float:
    r"""Most frequent to least frequent class: $\max_c n_c / \min_c n_c$.

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    present_only : bool
        Leave out classes that do not occur.

    Returns
    -------
    float
        At least 1; infinite if a class does not occur.

    Source
    ------
    Cui et al., section 5 ("imbalance factor").

    Examples
    --------
    >>> imbalance_ratio([100, 10, 1]), imbalance_ratio([7, 0, 0]), imbalance_ratio([7, 0, 0], present_only=True)
    (100.0, inf, 1.0)
    """
    # CHECKS
    n = count_vector("counts", counts)

    # RESULT
    if not n.any():
        return np.nan
    if present_only:
        n = n[n > 0]
    with np.errstate(divide="ignore"):  # x / 0 is infinite
        return float(n.max() / n.min())


def gini_coefficient(counts: ArrayLike, *, present_only: bool = False) -> float:
    r"""Mean difference of two classes by twice their mean.

    With the counts in ascending order, $n_{(1)} \le \dots \le n_{(C)}$:

    $$ G = \frac{\sum_i \sum_j |n_i - n_j|}{2 C S} = \frac{\sum_i (2i - C - 1) \, n_{(i)}}{C S} $$

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    present_only : bool
        Leave out classes that do not occur.

    Returns
    -------
    float
        In [0, (C - 1) / C]; 0 for equal counts.

    Source
    ------
    Gini, 1912. Ruling: the population form, without the factor C / (C - 1).

    Examples
    --------
    (-2 * 1 + 0 * 10 + 2 * 100) / (3 * 111):

    >>> round(gini_coefficient([100, 10, 1]), 6)
    0.594595
    """
    # CHECKS
    n = count_vector("counts", counts)

    # QUANTITIES OF THE PAPER
    if present_only:
        n = n[n > 0]
    num_classes = len(n)
    rank_weight = 2.0 * np.arange(1, num_classes + 1) - num_classes - 1

    # RESULT
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return float((rank_weight * np.sort(n)).sum() / (num_classes * n.sum()))


def effective_number(counts: ArrayLike, *, beta: float) -> Float:
    r"""Effective number of samples of every class.

    $$ E_\beta(n) = \frac{1 - \beta^n}{1 - \beta} \quad (\beta < 1), \qquad E_1(n) = n $$

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    beta : float in [0, 1]
        0: every class that occurs counts 1.

    Returns
    -------
    float64, shape (C,)
        At most min(n, 1 / (1 - beta)) for n >= 1.

    Source
    ------
    Cui et al., equation 2 and proposition 1.

    Examples
    --------
    1, and 1 + 1/2 + 1/4:

    >>> effective_number([0, 1, 3], beta=0.5)
    array([0.  , 1.  , 1.75])
    """
    # CHECKS
    n = count_vector("counts", counts)
    beta = fraction("beta", beta)

    # RESULT
    if beta == 1.0:
        return n
    if beta == 0.0:
        return np.where(n > 0, 1.0, 0.0)
    return np.asarray(-np.expm1(n * np.log(beta)) / (1.0 - beta))  # 1 - beta^n would cancel for beta near 1


def effective_imbalance_ratio(counts: ArrayLike, *, beta: float, present_only: bool = False) -> float:
    r"""$E_\beta(n_{max}) / E_\beta(n_{min})$.

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    beta : float in [0, 1]
        As in `effective_number`; 1 gives `imbalance_ratio`.
    present_only : bool
        Leave out classes that do not occur.

    Returns
    -------
    float
        At least 1; infinite if a class does not occur.

    Source
    ------
    Cui et al., equation 2.

    Examples
    --------
    >>> effective_imbalance_ratio([3, 1], beta=0.5)
    1.75
    """
    # RESULT
    return imbalance_ratio(effective_number(counts, beta=beta), present_only=present_only)
