r"""Gradient density: how crowded the neighbourhood of an example's gradient norm is.

Source: Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equations 4
to 13; the authors' code (libuyu/GHM_Detection).

A detector's examples are very unevenly spread over the gradient norm $g \in [0, 1]$: nearly all are easy
($g$ near 0), and a second crowd, the outliers, sits near 1. The gradient harmonizing mechanism divides the loss
of an example by the density of examples around its $g$, so that every stretch of [0, 1] has the same say.

There are two forms. The exact one counts the examples in a window around each $g$. The one used in training
cuts [0, 1] into M unit regions and counts once a region; it may average these counts over mini-batches. The
paper and its authors' code then differ twice, so both ways have a name:

==============================  ============================================================================
option                          weight of an example in region $j$ with $R_j$ examples ($S_j$: averaged)
==============================  ============================================================================
``norm="nonempty"`` (default)   $N / (R_j \, n)$, $n$ = regions that are not empty in this call: the code
``norm="M"``                    $N / (R_j \, M)$: the paper
``ema="lazy"`` (default)        $S_j$ changes only where $R_j > 0$: the code
``ema="full"``                  $S_j$ changes in every region: the paper
==============================  ============================================================================
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    count,
    finite_array,
    float_array,
    fraction_array,
    fraction_below_one,
    int_array,
    mask_array,
    one_of,
    positive,
)

NORMS = ("nonempty", "M")
MOVING_AVERAGES = ("lazy", "full")
LONGEST_WINDOW = 2.0  # reaches from 0 to 1 to both sides


class UnitRegionWeights(NamedTuple):
    """What `unit_region_weights` returns."""

    weights: Float
    state: Float


def gradient_density(gradient_norms: ArrayLike, valid: ArrayLike | None = None, *, epsilon: float) -> Float:
    r"""Exact density at the gradient norm of every example: neighbours by window length.

    $$ \mathrm{GD}(g) = \frac{1}{l_\epsilon(g)}
       \sum_{k=1}^{N} \Big[ -\tfrac\epsilon2 \le g_k - g < \tfrac\epsilon2 \Big],
       \qquad l_\epsilon(g) = \min(g + \tfrac\epsilon2, 1) - \max(g - \tfrac\epsilon2, 0) $$

    Parameters
    ----------
    gradient_norms : float in [0, 1] or NaN, shape (...)
        $g$. NaN is not an example: nobody's neighbour.
    valid : bool, shape of `gradient_norms`, or None
        Which elements are examples; None: all.
    epsilon : float in (0, 2]
        $\epsilon$, length of the window. It is half open: a neighbour $\epsilon/2$ below counts, above not.

    Returns
    -------
    float64, shape of `gradient_norms`
        At least $1 / l_\epsilon$ for an example; 0 where not valid; NaN where valid and NaN.

    Raises
    ------
    SpecError
        Shapes differ, a norm is outside [0, 1], `epsilon` is out of range.

    Source
    ------
    Paper, equations 4 to 6.

    Examples
    --------
    Two examples within 0.1 of each other; the window at 0 is cut to half its length.

    >>> gradient_density([0.0, 0.0625, 0.5], epsilon=0.25)
    array([16.        , 10.66666667,  4.        ])
    """
    # CHECKS
    g, is_valid, counted = _examples(gradient_norms, valid)
    half = _window_length(epsilon) / 2.0

    # QUANTITIES OF THE PAPER
    neighbours = np.reshape([np.count_nonzero(_within(half, g[counted] - one)) for one in g.flat], g.shape)
    length = np.minimum(half, 1.0 - g) + np.minimum(half, g)  # l: its two sides, which cannot cancel

    # RESULT
    return np.where(is_valid, neighbours / length, 0.0)  # of a NaN the length is NaN


def harmonizing_weights(gradient_norms: ArrayLike, valid: ArrayLike | None = None, *, epsilon: float) -> Float:
    r"""Harmonizing parameter of every example from the exact density: $\beta = N / \mathrm{GD}(g)$.

    Parameters, errors: as `gradient_density`.

    Returns
    -------
    float64, shape of `gradient_norms`
        In $[l_\epsilon, N \, l_\epsilon]$ for an example; 0 where not valid; NaN where valid and NaN.
        N is the number of examples.

    Source
    ------
    Paper, equation 7.

    Examples
    --------
    Three examples; densities 16, 32/3 and 4.

    >>> harmonizing_weights([0.0, 0.0625, 0.5], epsilon=0.25)
    array([0.1875 , 0.28125, 0.75   ])
    """
    # CHECKS
    _, is_valid, counted = _examples(gradient_norms, valid)

    # QUANTITIES OF THE PAPER
    num_examples = np.count_nonzero(counted)
    density = gradient_density(gradient_norms, valid, epsilon=epsilon)

    # RESULT
    return num_examples / np.where(is_valid, density, np.inf)


def unit_region_index(gradient_norms: ArrayLike, *, bins: int = 10) -> Int:
    r"""Region of every gradient norm, from 0: the number of inner edges $j / M$, $j = 1..M-1$, with $j/M \le g$.

    Parameters
    ----------
    gradient_norms : float in [0, 1], shape (...)
        $g$.
    bins : int >= 1
        M. Regions hold their lower edge; the last one holds 1 too.

    Returns
    -------
    int64, shape of `gradient_norms`
        In 0..M-1.

    Raises
    ------
    SpecError
        A norm is outside [0, 1], `bins` is out of range.

    Source
    ------
    Paper, section on unit region approximation, equation 9. Ruling: edges are compared, because
    $\lfloor g M \rfloor$ rounds $g M$ first; and $g = 1$, which a rounded sigmoid reaches, counts.

    Examples
    --------
    >>> unit_region_index([0.0, 0.499, 0.5, 1.0], bins=10)
    array([0, 4, 5, 9])
    """
    # CHECKS
    g = fraction_array("gradient_norms", gradient_norms)
    bins = count("bins", bins)

    # RESULT
    index = np.zeros(g.shape, dtype=np.int64)
    for j in range(1, bins):
        index = index + (g >= j / bins)
    return index


def unit_region_counts(gradient_norms: ArrayLike, valid: ArrayLike | None = None, *, bins: int = 10) -> Int:
    r"""Histogram $R_j$: examples in each of the M unit regions.

    Parameters
    ----------
    gradient_norms, valid
        As in `gradient_density`. All elements of a call are counted together: images, anchors and classes.
    bins : int >= 1
        M.

    Returns
    -------
    int64, shape (M,)

    Raises
    ------
    SpecError
        As `gradient_density`.

    Source
    ------
    Paper, equation 9.

    Examples
    --------
    >>> unit_region_counts([0.1, 0.2, 0.7, 0.9], [1, 1, 1, 0], bins=2)
    array([2, 1])
    """
    # CHECKS
    g, _, counted = _examples(gradient_norms, valid)
    bins = count("bins", bins)

    # RESULT
    index = unit_region_index(g[counted], bins=bins)
    return np.array([np.count_nonzero(index == j) for j in range(bins)])


def moving_average_counts(state: ArrayLike, counts: ArrayLike, *, momentum: float, ema: str = "lazy") -> Float:
    r"""Region counts averaged over mini-batches, pure: old state in, new state out.

    $$ S_j' = \alpha \, S_j + (1 - \alpha) \, R_j $$

    for every region (``ema="full"``), or only where $R_j > 0$, the others staying as they are (``"lazy"``).

    Parameters
    ----------
    state : float >= 0, shape (M,)
        $S$; zeros before the first mini-batch. The bias of that start is not corrected.
    counts : int >= 0, shape (M,)
        $R$ of this mini-batch.
    momentum : float in [0, 1)
        $\alpha$ (authors' configuration: 0.75 for classification, 0.7 for regression).
    ema : "lazy" or "full"
        See the table of the module.

    Returns
    -------
    float64, shape (M,)

    Raises
    ------
    SpecError
        Shapes differ, a number is negative, `momentum` or `ema` is out of range.

    Source
    ------
    Paper, equation 12 (full); authors' code (lazy).

    Examples
    --------
    0.75 * 4 + 0.25 * 8 in the first region; the second one is empty.

    >>> moving_average_counts([4.0, 4.0], [8, 0], momentum=0.75)
    array([5., 4.])
    >>> moving_average_counts([4.0, 4.0], [8, 0], momentum=0.75, ema="full")
    array([5., 3.])
    """
    # CHECKS
    region_counts = int_array("counts", counts, low=0)
    if region_counts.ndim != 1:
        raise SpecError(f"counts: expected shape (M,), got {region_counts.shape}")
    previous = _state(state, region_counts.shape[0])
    alpha = fraction_below_one("momentum", momentum)
    one_of("ema", ema, MOVING_AVERAGES)

    # RESULT
    averaged = alpha * previous + (1.0 - alpha) * region_counts
    return np.where(region_counts > 0, averaged, previous) if ema == "lazy" else averaged


def unit_region_weights(
    gradient_norms: ArrayLike,
    valid: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
) -> UnitRegionWeights:
    r"""Harmonizing parameter of every example from unit regions, and the new moving average.

    With $S$ the counts of the call, or their moving average, and $j$ the region of $g$:

    $$ \hat\beta = \frac{N}{S_j \, M} \quad (\texttt{norm="M"}), \qquad
       \hat\beta = \frac{N}{S_j \, n} \quad (\texttt{norm="nonempty"}) $$

    where $n$ is the number of regions that are not empty in this call, whatever their moving average.

    Parameters
    ----------
    gradient_norms : float in [0, 1] or NaN, shape (...)
        $g$. NaN is not an example.
    valid : bool, shape of `gradient_norms`, or None
        Which elements are examples; None: all.
    state : float >= 0, shape (M,), or None
        Moving average before this call; None: zeros.
    bins : int >= 1
        M (default of the authors' code: 10; their configuration: 30 for classification).
    norm : "nonempty" or "M"
        See the table of the module.
    momentum : float in [0, 1) or None
        $\alpha$. None: no moving average, the state is neither used nor changed.
    ema : "lazy" or "full"
        See the table of the module.

    Returns
    -------
    weights : float64, shape of `gradient_norms`
        0 where not valid; NaN where valid and NaN. Without a moving average they sum to N (``"nonempty"``) or
        to $N n / M$ (``"M"``).
    state : float64, shape (M,)

    Raises
    ------
    SpecError
        Shapes differ, a norm is outside [0, 1], the state is negative, an option is out of range.

    Source
    ------
    Paper, equations 9 to 13; authors' code for ``"nonempty"`` and ``"lazy"``. Rulings: the first step from a
    zero state has weights $1 / (1 - \alpha)$ times as large, as in the authors' code.

    Examples
    --------
    Four examples, three in one region and one in another: 4 / (3 * 2) and 4 / (1 * 2).

    >>> unit_region_weights([0.01, 0.02, 0.03, 0.95]).weights.round(6)
    array([0.666667, 0.666667, 0.666667, 2.      ])
    >>> unit_region_weights([0.01, 0.02, 0.03, 0.95], norm="M").weights.round(6)
    array([0.133333, 0.133333, 0.133333, 0.4     ])
    """
    # CHECKS
    g, is_valid, counted = _examples(gradient_norms, valid)
    bins = count("bins", bins)
    previous = np.zeros(bins) if state is None else _state(state, bins)
    one_of("norm", norm, NORMS)
    one_of("ema", ema, MOVING_AVERAGES)

    # QUANTITIES OF THE PAPER
    num_examples = np.count_nonzero(counted)
    region_counts = unit_region_counts(g, counted, bins=bins)
    num_regions = bins if norm == "M" else np.count_nonzero(region_counts)
    region_size: Float | Int = region_counts
    new_state = previous
    if momentum is not None:
        region_size = new_state = moving_average_counts(previous, region_counts, momentum=momentum, ema=ema)
    region_index = unit_region_index(g[counted], bins=bins)

    # RESULT
    weights = np.where(is_valid, np.nan, 0.0)
    weights[counted] = num_examples / (region_size[region_index] * num_regions)
    return UnitRegionWeights(weights, new_state)


def harmonized_mean_terms(values: ArrayLike, weights: ArrayLike, valid: ArrayLike | None = None) -> Float:
    r"""Terms $\beta_i v_i / N$ of a harmonized mean: their sum is the loss.

    Parameters
    ----------
    values : float, shape (...)
        $v$: element losses, or their derivatives.
    weights : float, shape of `values`
        $\beta$, NaN where an element is not an example.
    valid : bool, shape of `values`, or None
        Which elements are examples; None: all.

    Returns
    -------
    float64, shape of `values`
        0 where not valid. N is the number of valid elements whose weight is not NaN.

    Raises
    ------
    SpecError
        Shapes differ.

    Source
    ------
    Paper, equation 8.

    Examples
    --------
    >>> harmonized_mean_terms([3.0, 5.0, 7.0], [0.5, 1.5, 0.0], [1, 1, 0])
    array([0.75, 3.75, 0.  ])
    """
    # CHECKS
    v = float_array("values", values)
    beta = float_array("weights", weights, shape=v.shape)
    is_valid = mask_array("valid", valid, v.shape)

    # QUANTITIES OF THE PAPER
    num_examples = np.count_nonzero(is_valid & ~np.isnan(beta))

    # RESULT
    terms = np.zeros(v.shape)
    terms[is_valid] = beta[is_valid] * v[is_valid] / num_examples
    return terms


def _examples(gradient_norms: ArrayLike, valid: ArrayLike | None) -> tuple[Float, Bool, Bool]:
    """Gradient norms, which are valid, and which are counted: valid and a number."""
    g = float_array("gradient_norms", gradient_norms)
    is_valid = mask_array("valid", valid, g.shape)
    counted = is_valid & ~np.isnan(g)
    fraction_array("gradient_norms", np.where(np.isnan(g), 0.0, g))
    return g, is_valid, counted


def _within(half: float, distance: Float) -> Bool:
    """Which are in the window, whose upper end does not belong to it."""
    return (distance >= -half) & (distance < half)


def _state(state: ArrayLike, bins: int) -> Float:
    counts = finite_array("state", state, shape=(bins,))
    if (counts < 0.0).any():
        raise SpecError(f"state: expected numbers >= 0, got {counts.min()}")
    return counts


def _window_length(epsilon: float) -> float:
    if positive("epsilon", epsilon) > LONGEST_WINDOW:
        raise SpecError(f"epsilon: expected a number in (0, 2], got {epsilon}")
    return float(epsilon)
