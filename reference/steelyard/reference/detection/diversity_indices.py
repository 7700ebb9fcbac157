r"""Indices of diversity: how many classes a vector of counts amounts to.

Source: Hill, "Diversity and Evenness: A Unifying Notation and Its Consequences", Ecology 1973.

Throughout, $n_c \ge 0$ is the count (or sum of weights) of class $c$ of C declared classes, $S = \sum_c n_c$ and
$p_c = n_c / S$. Classes that do not occur stay in C unless ``present_only``. Logarithms are natural. Where $S = 0$
nothing can be said: NaN. Every function has these errors: `SpecError` where the counts are not one axis of at least
one finite number >= 0, or a parameter is out of range.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, count_vector


def entropy(counts: ArrayLike) -> float:
    r"""Shannon entropy in nats: $H = -\sum_{p_c > 0} p_c \ln p_c$.

    Parameters
    ----------
    counts : float >= 0, shape (C,)

    Returns
    -------
    float
        In [0, ln C]; ln C for equal counts.

    Source
    ------
    Shannon, Bell System Technical Journal, 1948. Ruling: $0 \ln 0 = 0$.

    Examples
    --------
    >>> entropy([5, 5]) == np.log(2), entropy([7, 0, 0])
    (np.True_, 0.0)
    """
    # CHECKS
    n = count_vector("counts", counts)

    # RESULT
    p = _shares(n)
    p = p[p != 0.0]
    return float(0.0 - (p * np.log(p)).sum())  # a minus sign would make -0 of 0


def normalised_entropy(counts: ArrayLike, *, present_only: bool = False) -> float:
    r"""$H / \ln C$, in [0, 1]; 1 for a single class.

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    present_only : bool
        C counts only classes that occur.

    Returns
    -------
    float

    Source
    ------
    Pielou's evenness, 1966. Ruling: 0/0 is 1, one class is as even as it can be.

    Examples
    --------
    >>> round(normalised_entropy([8, 4, 2, 2]), 12)
    0.875
    """
    # CHECKS
    n = count_vector("counts", counts)

    # RESULT
    if not n.any():
        return np.nan
    if present_only:
        n = n[n > 0]
    return entropy(n) / float(np.log(len(n))) if len(n) > 1 else 1.0


def perplexity(counts: ArrayLike) -> float:
    r"""$e^H$: the number of equally frequent classes that have the same entropy (Hill number of order 1).

    Parameters
    ----------
    counts : float >= 0, shape (C,)

    Returns
    -------
    float
        In [1, C].

    Source
    ------
    Hill 1973.

    Examples
    --------
    >>> round(perplexity([5, 5, 5]), 12)
    3.0
    """
    # RESULT
    return float(np.exp(entropy(counts)))


def inverse_simpson(counts: ArrayLike) -> float:
    r"""$1 / \sum_c p_c^2$ (Hill number of order 2).

    Parameters
    ----------
    counts : float >= 0, shape (C,)

    Returns
    -------
    float
        In [1, C], at most the perplexity.

    Source
    ------
    Hill 1973, after Simpson, Nature 1949.

    Examples
    --------
    >>> inverse_simpson([5, 5])
    2.0
    """
    # CHECKS
    p = _shares(count_vector("counts", counts))

    # RESULT
    return float(1.0 / (p**2).sum())


def gini_simpson(counts: ArrayLike) -> float:
    r"""$1 - \sum_c p_c^2$: how often two random samples are of different classes.

    Parameters
    ----------
    counts : float >= 0, shape (C,)

    Returns
    -------
    float
        In [0, (C - 1) / C].

    Source
    ------
    Simpson 1949.

    Examples
    --------
    >>> gini_simpson([5, 5])
    0.5
    """
    # CHECKS
    p = _shares(count_vector("counts", counts))

    # RESULT
    return float((p * (1.0 - p)).sum())


def divergence_from_uniform(counts: ArrayLike, *, present_only: bool = False) -> float:
    r"""Kullback-Leibler divergence from equal shares: $\sum_{p_c > 0} p_c \ln (C p_c) = \ln C - H$.

    Parameters
    ----------
    counts : float >= 0, shape (C,)
    present_only : bool
        C counts only classes that occur.

    Returns
    -------
    float
        In [0, ln C]; 0 for equal counts.

    Source
    ------
    Kullback and Leibler, Annals of Mathematical Statistics, 1951.

    Examples
    --------
    >>> divergence_from_uniform([7, 0]) == np.log(2)
    np.True_
    """
    # CHECKS
    n = count_vector("counts", counts)

    # RESULT
    if not n.any():
        return np.nan
    p = _shares(n)
    occurring = p[p > 0.0]
    num_classes = len(occurring) if present_only else len(p)
    return float((occurring * np.log(num_classes * occurring)).sum())


def effective_sample_size(weights: ArrayLike) -> float:
    r"""Kish's number of equally weighted samples: $(\sum_i w_i)^2 / \sum_i w_i^2$.

    Parameters
    ----------
    weights : float >= 0, shape (N,)
        Of soft sampling.

    Returns
    -------
    float
        In [1, N]; NaN if all weights are 0.

    Source
    ------
    Kish, Survey Sampling, 1965.

    Examples
    --------
    >>> effective_sample_size([1.0, 1.0, 0.0])
    2.0
    """
    # RESULT
    return inverse_simpson(weights)


def _shares(n: Float) -> Float:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        return n / n.sum()
