r"""Where the corners of a box may lie whose IoU with a reference box is at least $T$: regions, limits, areas.

Source: Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors",
WACV 2020 (arXiv 1909.09777), theorems 1 and 2, the feasible regions of algorithm 1.

IoU does not change under shifts and scales of both boxes, so the reference box is the unit square here. The areas in
closed form are ours: integrals of the regions.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, SpecError, finite_array, probability_inside


def best_iou_of_corner(corners: ArrayLike) -> Float:
    r"""Highest IoU with the unit square of any box with this top-left corner: that of the box that ends at (1, 1).

    $$ g(a, b) = \frac{I}{1 + (1-a)(1-b) - I}, \qquad I = (1 - \max(a, 0)) (1 - \max(b, 0)). $$

    Parameters
    ----------
    corners : float < 1, shape (..., 2)
        $(a, b)$.

    Returns
    -------
    float64, shape (...)

    Raises
    ------
    SpecError
        Another shape, a number that is not finite or not below 1.

    Source
    ------
    The feasible region of the top-left corner; IoU rises in the other corner up to 1 and falls after.

    Examples
    --------
    Inside: the area 0.25. Outside: one over the area, 1/4. Narrower, but longer: 0.5 / (1 + 1 - 0.5).

    >>> best_iou_of_corner([[0.5, 0.5], [-1.0, -1.0], [0.5, -1.0]]).round(6)
    array([0.25    , 0.25    , 0.333333])
    """
    # CHECKS
    corner = _corner_array(corners)

    # RESULT
    inner = np.prod(1.0 - np.maximum(corner, 0.0), axis=-1)
    return np.asarray(inner / (1.0 + np.prod(1.0 - corner, axis=-1) - inner))


def first_corner_areas(minimum_iou: float) -> Float:
    r"""Area of the region of the first corner, $\{(a, b): g(a, b) \ge T\}$, in its four parts.

    $$ A_{in} = 1 - T + T \ln T, \quad A_{mixed} = \frac{1 - T}{T} + \ln T, \quad
       A_{out} = \frac{-\ln T}{T} - \frac{1}{T} + 1; \qquad \sum = \ln T \Big(T + 2 - \frac{1}{T}\Big) + \frac1T - T. $$

    Parameters
    ----------
    minimum_iou : float in (0, 1)
        $T$.

    Returns
    -------
    float64, shape (2, 2)
        Element [i, j]: i = 1 for $a < 0$, j = 1 for $b < 0$.

    Raises
    ------
    SpecError
        T is not strictly between 0 and 1.

    Source
    ------
    Ours: integrals of the region of the paper.

    Examples
    --------
    At T = 1/2: 1/2 - ln 2 / 2 inside, 1 - ln 2 twice, 2 ln 2 - 1 outside.

    >>> first_corner_areas(0.5).round(6)
    array([[0.153426, 0.306853],
           [0.306853, 0.386294]])
    """
    # CHECKS
    t = probability_inside("minimum_iou", minimum_iou)

    # RESULT
    inside, mixed, outside = 1.0 - t + t * np.log(t), (1.0 - t) / t + np.log(t), 1.0 - 1.0 / t - np.log(t) / t
    return np.array([[inside, mixed], [mixed, outside]])


def second_corner_limits(corners: ArrayLike, minimum_iou: ArrayLike) -> Float:
    r"""Smallest rectangle around the region of the second corner $(c, d)$, given the first.

    With $x = \max(a, 0)$, $y = \max(b, 0)$, $I_1 = (1 - x)(1 - y)$:

    $$ c_{min} = \frac{T + (1+T)\, x (1-y) - T a (1-b)}{(1+T)(1-y) - T(1-b)}, \qquad
       c_{max} = a + \frac{I_1 / T - 1 + I_1}{1 - b}, $$

    reached at $d = 1$; $d$ with the axes exchanged.

    Parameters
    ----------
    corners : float < 1, shape (..., 2)
        $(a, b)$, in the region of the first corner.
    minimum_iou : float in (0, 1), shape (...)
        $T$.

    Returns
    -------
    float64, shape (..., 4)
        $c_{min}, d_{min}, c_{max}, d_{max}$.

    Raises
    ------
    SpecError
        Another shape, a number out of its range, no box from this corner has an IoU of T.

    Source
    ------
    The feasible region of the bottom-right corner.

    Examples
    --------
    From the corner (0, 0) with T = 1/2: half as wide, or twice as wide.

    >>> second_corner_limits([0.0, 0.0], 0.5)
    array([0.5, 0.5, 2. , 2. ])
    """
    # CHECKS
    corner = _corner_array(corners)
    t = threshold_array("minimum_iou", minimum_iou, shape=corner.shape[:-1])
    if (best_iou_of_corner(corner) < t).any():
        raise SpecError("corners: expected corners from which a box of the minimum IoU can be drawn")

    # RESULT
    return limits_of_second(corner, t)


def second_corner_areas(corners: ArrayLike, minimum_iou: float) -> Float:
    r"""Area of the region of the second corner in its four parts, by which sides of the unit square it exceeds.

    With the width $X(c) = \min(c, 1) - x$ of the intersection and
    $N(c) = (1+T) X (1-y) - T - T (c-a)(1-b) \ge 0$, the region at $c$ is

    $$ 1 - \frac{N}{(1+T) X - T (c-a)} \le d \le 1 + \frac{N}{T (c-a)}, $$

    quotients of linear functions of $c$ on each side of $c = 1$, whose integrals are logarithms.

    Parameters
    ----------
    corners : float < 1, shape (..., 2)
        $(a, b)$.
    minimum_iou : float in (0, 1)
        $T$.

    Returns
    -------
    float64, shape (..., 2, 2)
        Element [i, j]: i = 1 for $c > 1$, j = 1 for $d > 1$. 0 outside the region of the first corner.

    Raises
    ------
    SpecError
        As `best_iou_of_corner`, T is not strictly between 0 and 1.

    Source
    ------
    Ours: integrals of the region of the paper.

    Examples
    --------
    The first corner is the square's own: the parts are those of the first region, seen from the other corner.

    >>> second_corner_areas([0.0, 0.0], 0.5).round(6)
    array([[0.153426, 0.306853],
           [0.306853, 0.386294]])
    """
    # CHECKS
    corner = _corner_array(corners)
    t = probability_inside("minimum_iou", minimum_iou)

    # QUANTITIES OF THE PAPER
    feasible = best_iou_of_corner(corner) >= t
    a, b = np.moveaxis(np.where(feasible[..., np.newaxis], corner, 0.0), -1, 0)
    x, y = np.maximum(a, 0.0), np.maximum(b, 0.0)
    limit = limits_of_second(np.stack([a, b], axis=-1), np.full(a.shape, t))
    low, high = limit[..., 0], limit[..., 2]
    below_slope, below_start = (1 + t) * (1 - y) - t * (1 - b), -(1 + t) * x * (1 - y) - t + t * a * (1 - b)
    above_slope, above_start = -t * (1 - b), (1 + t) * (1 - x) * (1 - y) - t + t * a * (1 - b)
    one = np.ones(a.shape)
    areas = np.stack([
        _integral(below_slope, below_start, one, t * a - (1 + t) * x, low, one),
        _integral(below_slope, below_start, t * one, -t * a, low, one),
        _integral(above_slope, above_start, -t * one, (1 + t) * (1 - x) + t * a, one, high),
        _integral(above_slope, above_start, t * one, -t * a, one, high),
    ], axis=-1)  # fmt: skip

    # RESULT
    return np.where(feasible[..., np.newaxis], areas, 0.0).reshape(*a.shape, 2, 2)


def limits_of_second(corner: Float, t: Float) -> Float:
    """`second_corner_limits` of corners that are known to be feasible."""
    low, high = [], []
    for axis in (0, 1):
        a, b = corner[..., axis], corner[..., 1 - axis]
        x, y = np.maximum(a, 0.0), np.maximum(b, 0.0)
        inner = (1.0 - x) * (1.0 - y)
        low.append((t + (1 + t) * x * (1 - y) - t * a * (1 - b)) / ((1 + t) * (1 - y) - t * (1 - b)))
        high.append(a + (inner / t - 1.0 + inner) / (1 - b))
    return np.stack([*low, *high], axis=-1)


def threshold_array(name: str, value: ArrayLike, *, shape: tuple[int, ...]) -> Float:
    """Check of an argument: IoU thresholds, each strictly between 0 and 1."""
    t = finite_array(name, value, shape=shape)
    if not ((t > 0.0) & (t < 1.0)).all():
        raise SpecError(f"{name}: expected numbers strictly between 0 and 1, got one outside")
    return t


def _corner_array(value: ArrayLike) -> Float:
    corner = finite_array("corners", value)
    if corner.ndim == 0 or corner.shape[-1] != 2:
        raise SpecError(f"corners: expected shape (..., 2), got {corner.shape}")
    if not (corner < 1.0).all():
        raise SpecError("corners: expected numbers below 1, where the unit square ends")
    return corner


def _integral(slope: Float, start: Float, below: Float, below_start: Float, low: Float, high: Float) -> Float:
    """Integral from `low` to `high` of (slope c + start) / (below c + below_start)."""
    ratio = (below * high + below_start) / (below * low + below_start)
    return (slope / below) * (high - low) + (start * below - slope * below_start) / below**2 * np.log(ratio)
