r"""The bounding box generator: random boxes whose IoU with a reference box is at least a threshold.

Source: Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors",
WACV 2020 (arXiv 1909.09777), algorithm 1; the authors' code (``bounding_box_generator.py``).
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, SpecError, finite_array, key_array
from steelyard.reference.detection.box_overlaps import aligned_iou
from steelyard.reference.generative.feasible_region import best_iou_of_corner, limits_of_second, threshold_array


def generate_boxes(
    boxes: ArrayLike,
    minimum_ious: ArrayLike,
    coin_keys: ArrayLike,
    first_keys: ArrayLike,
    second_keys: ArrayLike,
) -> tuple[Float, Float]:
    r"""Draw a box for each reference box, with an IoU of at least $T$: first one corner, then the other.

    In the frame in which the reference box is the unit square, mirrored at its centre if the coin is at least 1/2:

    1. the first corner $(a, b)$ uniform where some box has an IoU of $T$ (`best_iou_of_corner`), by rejection from
       $[1 - 1/T, 1 - T]^2$;
    2. the second $(c, d)$ uniform where $\mathrm{IoU} \ge T$, by rejection from `second_corner_limits`.

    Each try is a pair of keys; the first that is accepted counts. If none is, the corner is that of the reference box:
    a try is accepted with a probability of about 1/2, so this has one of about $2^{-48}$ for 48 tries.

    Parameters
    ----------
    boxes : finite float, shape (..., 4)
        The reference boxes, x1, y1, x2, y2.
    minimum_ious : float in (0, 1), shape (...)
        $T$.
    coin_keys : float in [0, 1), shape (...)
        Below 1/2 the top-left corner is drawn first, else the bottom-right.
    first_keys, second_keys : float in [0, 1), shape (..., R, 2)
        R tries for each of the corners.

    Returns
    -------
    float64, shape (..., 4), and float64, shape (...)
        The boxes, and their IoU with the reference boxes.

    Raises
    ------
    SpecError
        Shapes do not fit, a number is out of its range.

    Source
    ------
    Algorithm 1. Rulings: an IoU of at least T, not of T; by the region itself, where the authors' code has polygons of
    points on its border, whose chords cut off a little too little; the box is not clipped to an image here; a box
    without area, with which no box has an IoU above 0, is answered by itself and IoU 0.

    Examples
    --------
    The first try is (-1, -1), from which the best IoU is 1/4; the second, 2/3 of [-1, 1/2], is (0, 0). Half of
    [1/2, 2] is 1.25, and the IoU 1 / 1.25^2.

    >>> tries = [[[0.0, 0.0], [2 / 3, 2 / 3]]], [[[0.5, 0.5], [0.0, 0.0]]]
    >>> box, iou = generate_boxes([[10, 20, 30, 40]], [0.5], [0.0], *tries)
    >>> box.round(6), iou.round(6)
    (array([[10., 20., 35., 45.]]), array([0.64]))
    """
    # CHECKS
    box = finite_array("boxes", boxes)
    if box.ndim == 0 or box.shape[-1] != 4:
        raise SpecError(f"boxes: expected shape (..., 4), got {box.shape}")
    shape = box.shape[:-1]
    t = threshold_array("minimum_ious", minimum_ious, shape=shape)
    coin = finite_array("coin_keys", coin_keys, shape=shape)
    if not ((coin >= 0.0) & (coin < 1.0)).all():
        raise SpecError("coin_keys: expected numbers in [0, 1), got one outside")
    first, second = _tries("first_keys", first_keys, shape), _tries("second_keys", second_keys, shape)

    # QUANTITIES OF THE PAPER
    drawn = box.copy()
    for place in np.ndindex(shape):
        origin, size = box[place][:2], box[place][2:] - box[place][:2]
        if (size > 0.0).all():
            in_frame = box_in_unit_frame(float(t[place]), float(coin[place]), first[place], second[place])
            drawn[place] = np.tile(origin, 2) + np.tile(size, 2) * in_frame

    # RESULT
    iou = aligned_iou(drawn.reshape(-1, 4), box.reshape(-1, 4))
    return drawn, iou.reshape(shape)


def box_in_unit_frame(t: float, coin: float, first_keys: Float, second_keys: Float) -> Float:
    """One box with an IoU of at least t with the unit square, by keys [R, 2] of the tries."""
    lowest, highest = 1.0 - 1.0 / t, 1.0 - t
    tries = lowest + first_keys * (highest - lowest)
    corner = _first_accepted(tries, best_iou_of_corner(tries) >= t, np.zeros(2))

    limit = limits_of_second(corner, np.asarray(t))
    tries = limit[:2] + second_keys * (limit[2:] - limit[:2])
    candidates = np.concatenate([np.broadcast_to(corner, tries.shape), tries], axis=1)
    unit = np.broadcast_to([0.0, 0.0, 1.0, 1.0], candidates.shape)
    other = _first_accepted(tries, aligned_iou(candidates, unit) >= t, np.ones(2))
    return np.concatenate([corner, other]) if coin < 0.5 else np.concatenate([1.0 - other, 1.0 - corner])


def _first_accepted(tries: Float, accepted: Bool, otherwise: Float) -> Float:
    for point, good in zip(tries, accepted, strict=True):
        if good:
            return np.asarray(point)
    return otherwise


def _tries(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Float:
    key = key_array(name, value)
    if key.ndim != len(shape) + 2 or key.shape[:-2] != shape or key.shape[-1] != 2:
        raise SpecError(f"{name}: expected shape {(*shape, 'R', 2)}, got {key.shape}")
    return key
