r"""Exact laws of the boxes that the bounding box generator draws: their IoU, and the sides that stick out.

Source: the two uniform draws of algorithm 1 of Oksuz, Cam, Akbas, Kalkan, WACV 2020 (arXiv 1909.09777). The laws are
ours: the second draw in closed form (`second_corner_areas`), the first by quadrature of Gauss and Legendre.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, SpecError, finite_array, probability_inside
from steelyard.reference.generative.feasible_region import first_corner_areas, second_corner_areas

_NODES = 48


def generated_iou_survival(ious: ArrayLike, *, minimum_iou: float) -> Float:
    r"""Probability that a box of `generate_boxes` has an IoU of at least $s$.

    $$ P(\mathrm{IoU} \ge s) = \frac{1}{|R(T)|} \int_{R(s)} \frac{|R_2(a, b, s)|}{|R_2(a, b, T)|} \, da \, db $$

    with the regions $R$ of the first corner and $R_2$ of the second.

    Parameters
    ----------
    ious : float in [0, 1], shape (K,)
        $s$.
    minimum_iou : float in (0, 1)
        $T$.

    Returns
    -------
    float64, shape (K,)
        1 up to T.

    Raises
    ------
    SpecError
        Another shape, a number out of its range.

    Source
    ------
    Ours, from the two uniform draws of algorithm 1.

    Examples
    --------
    Nearly nine tenths lie within 0.1 of T = 0.5:

    >>> generated_iou_survival([0.5, 0.6, 0.7], minimum_iou=0.5).round(3)
    array([1.   , 0.101, 0.016])
    """
    # CHECKS
    s = finite_array("ious", ious)
    if s.ndim != 1 or (s < 0.0).any() or (s > 1.0).any():
        raise SpecError("ious: expected shape (K,), numbers in [0, 1]")
    t = probability_inside("minimum_iou", minimum_iou)

    # QUANTITIES OF THE PAPER
    area = first_corner_areas(t).sum()

    # RESULT
    survival = np.where(s <= t, 1.0, 0.0)
    for k in np.flatnonzero((s > t) & (s < 1.0)):
        for _, corner, weight in _first_region(float(s[k])):
            part = second_corner_areas(corner, float(s[k])).sum(axis=(-2, -1))
            whole = second_corner_areas(corner, t).sum(axis=(-2, -1))
            survival[k] += (weight * part / whole).sum() / area
    return survival


def generated_side_probabilities(minimum_iou: float) -> Float:
    r"""Probability of each pattern of sides that stick out of the reference box.

    Half of the integral of $|R_2 \cap Q| / |R_2|$ over each part of the first region, for each part $Q$ of the second,
    and half of it with the corners exchanged, for the coin.

    Parameters
    ----------
    minimum_iou : float in (0, 1)
        $T$.

    Returns
    -------
    float64, shape (2, 2, 2, 2)
        Element [i, j, k, l]: 1 where the left, top, right, bottom side is outside.

    Raises
    ------
    SpecError
        T is not strictly between 0 and 1.

    Source
    ------
    Ours, from the two uniform draws of algorithm 1 and its coin.

    Examples
    --------
    The coin makes left and right alike, the symmetry of the region left and top:

    >>> law = generated_side_probabilities(0.5)
    >>> law.sum(axis=(1, 2, 3)).round(4), law.sum(axis=(0, 1, 3)).round(4)
    (array([0.4107, 0.5893]), array([0.4107, 0.5893]))
    """
    # CHECKS
    t = probability_inside("minimum_iou", minimum_iou)

    # QUANTITIES OF THE PAPER
    area = first_corner_areas(t).sum()
    straight = np.zeros((2, 2, 2, 2))
    for part, corner, weight in _first_region(t):
        areas = second_corner_areas(corner, t)
        shares = areas / areas.sum(axis=(-2, -1), keepdims=True)
        straight[part] = np.einsum("n,nkl->kl", weight, shares) / area

    # RESULT
    return np.asarray(0.5 * (straight + straight.transpose(2, 3, 0, 1)))


def _first_region(t: float) -> Iterator[tuple[tuple[int, int], Float, Float]]:
    """The four parts of the first region: which sides are outside, nodes (a, b) and weights of a quadrature."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    node, weight = (node + 1.0) / 2.0, weight / 2.0
    for part in np.ndindex(2, 2):
        outside = part == (1, 1)
        u_low, u_high = (1.0, 1.0 / t) if outside else (t, 1.0)
        u = u_low + (u_high - u_low) * node[:, np.newaxis]
        v_low = t / u if part == (0, 0) else np.ones(u.shape)
        v_high = {(0, 0): np.ones(u.shape), (1, 1): 1.0 / (t * u)}.get(part, (1.0 + t) / t - 1.0 / u)
        v = v_low + (v_high - v_low) * node
        corner = 1.0 - np.stack([np.broadcast_to(u, v.shape).ravel(), v.ravel()], axis=-1)
        area = weight[:, np.newaxis] * weight * (u_high - u_low) * (v_high - v_low)
        yield (part[0], part[1]), corner[:, ::-1] if part == (1, 0) else corner, area.ravel()
