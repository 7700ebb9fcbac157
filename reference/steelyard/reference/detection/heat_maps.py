r"""Heat maps of the bottom-up detectors: their peaks, and the sums along an edge.

Sources: Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.3; Zhou et al., "ExtremeNet", CVPR 2019
(arXiv 1901.08043), sections 4.1 and 4.3.

A bottom-up detector marks corners or extreme points on one heat map a class. Its peaks are the candidates from which
`grouping` makes boxes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, count, finite_array, non_negative


class Peaks(NamedTuple):
    """The highest peaks, best first; rows after the last are padding."""

    scores: Float
    """Shape (K,): 0 for padding."""
    classes: Int
    """Shape (K,): -1 for padding."""
    points: Int
    """Shape (K, 2): x (column) and y (row), 0 for padding."""


def heat_map_peaks(heat: ArrayLike, *, kernel: int = 3, top_k: int = 100) -> Peaks:
    r"""Highest peaks of a stack of heat maps.

    A cell is a peak if no cell of the `kernel` x `kernel` window around it is higher. Of the peaks of all classes
    the `top_k` highest are taken; of equal ones the first by class, row, column.

    Parameters
    ----------
    heat : float, shape (C, H, W)
        Finite; probabilities or logits.
    kernel : odd int >= 1
    top_k : int >= 1
        K (CornerNet: 100; ExtremeNet: 40).

    Returns
    -------
    Peaks
        `scores` float64 (K,), `classes` int64 (K,), `points` int64 (K, 2); padded with 0, -1 and 0.

    Raises
    ------
    SpecError
        The shape is another, a number is not finite, the kernel is even.

    Source
    ------
    CornerNet, section 3.3; ExtremeNet, section 4.1. Ruling: on a plateau every cell is a peak.

    Examples
    --------
    Only 0.9 and 0.4 are peaks: 0.8 lies beside 0.9.

    >>> peaks = heat_map_peaks([[[0.9, 0.8, 0.1, 0.4]]], top_k=3)
    >>> peaks.scores.tolist(), peaks.points.tolist()
    ([0.9, 0.4, 0.0], [[0, 0], [3, 0], [0, 0]])
    """
    # CHECKS
    heat = finite_array("heat", heat)
    if heat.ndim != 3 or heat.size == 0:
        raise SpecError(f"heat: expected shape (C, H, W), none of them 0, got {heat.shape}")
    kernel, top_k = count("kernel", kernel), count("top_k", top_k)
    if kernel % 2 == 0:
        raise SpecError(f"kernel: expected an odd int, got {kernel}")

    # QUANTITIES OF THE PAPER
    reach = kernel // 2
    _, height, width = heat.shape
    padded = np.pad(heat, ((0, 0), (reach, reach), (reach, reach)), constant_values=-np.inf)
    windows = [padded[:, i : i + height, j : j + width] for i in range(kernel) for j in range(kernel)]
    is_peak = heat == np.maximum.reduce(windows)

    # RESULT
    cells = np.flatnonzero(is_peak)
    best = cells[np.argsort(-heat.reshape(-1)[cells], kind="stable")][:top_k]
    c, y, x = np.unravel_index(best, heat.shape)
    padding = (0, top_k - len(best))
    return Peaks(
        np.pad(heat[c, y, x], padding),
        np.pad(c, padding, constant_values=-1),
        np.pad(np.stack([x, y], axis=1), (padding, (0, 0))),
    )


def aggregate_edges(heat: ArrayLike, *, axis: int = -1, weight: float = 0.1) -> Float:
    r"""Heat of an edge collected in its strongest cell.

    An edge of a box that lies along an axis gives a low ridge instead of a peak. Every value receives $\lambda$ times
    the sum of the values that follow it, on either side, as long as they do not rise.

    Parameters
    ----------
    heat : float, any shape with at least one axis
    axis : int
        -1 (along x) for top and bottom points, -2 (along y) for left and right points.
    weight : float >= 0
        $\lambda$ (paper: 0.1).

    Returns
    -------
    float64, shape of `heat`

    Raises
    ------
    SpecError
        There is no such axis, a number is not finite, the weight is negative.

    Source
    ------
    ExtremeNet, section 4.3. The cell itself is not part of the sums (as in the authors' code).

    Examples
    --------
    0.4 has 0.2 and 0.1 on one side, 0.3 and 0.3 on the other: 0.4 + 0.1 * 0.9.

    >>> aggregate_edges([0.1, 0.2, 0.4, 0.3, 0.3, 0.5, 0.2]).round(6)
    array([0.1 , 0.21, 0.49, 0.33, 0.33, 0.58, 0.2 ])
    """
    # CHECKS
    values = finite_array("heat", heat)
    if not -values.ndim <= axis < values.ndim:
        raise SpecError(f"axis: expected one of {values.ndim} axes, got {axis}")
    weight = non_negative("weight", weight)

    # QUANTITIES OF THE PAPER
    along = np.moveaxis(values, axis, 0)
    before = _run_before(along)
    after = _run_before(along[::-1])[::-1]

    # RESULT
    return np.moveaxis(along + weight * (before + after), 0, axis)


def _run_before(along: Float) -> Float:
    """Sum of the values before each one, going away from it as long as they do not rise."""
    total = np.zeros(along.shape)
    for i in range(1, len(along)):
        total[i] = np.where(along[i - 1] <= along[i], along[i - 1] + total[i - 1], 0.0)
    return total
