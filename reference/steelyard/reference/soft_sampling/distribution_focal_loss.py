r"""Distribution focal loss: each side of a box is a distribution over bins, drawn towards the two nearest.

Source: Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object
Detection", NeurIPS 2020 (arXiv 2006.04388), equations 3 to 6.

A point inside an object predicts its distance to each of the four sides, in units of the stride of its feature
level, as a softmax over the bins 0, 1, ..., n. The distance is the expectation. The loss is the cross entropy
against the distribution on the two bins around the target that has the target as its expectation.

Implementations count bins differently: ``reg_max=16`` means 17 bins in GFL and mmdet, 16 in ultralytics. Here the
length of the last axis says it: n + 1 bins for targets in [0, n].
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, count, finite_array, non_negative
from steelyard.reference.soft_sampling.soft_target import weighted


def distribution_focal_loss(logits: ArrayLike, targets: ArrayLike) -> Float:
    r"""Distribution focal loss of every side, in nats.

    With $S = \mathrm{softmax}(z)$ and $i = \min(\lfloor y \rfloor, n - 1)$:

    $$ \mathrm{DFL} = -\big((i + 1 - y) \log S_i + (y - i) \log S_{i+1}\big)
       = -\sum_{k=0}^{n} w_k \log S_k, \qquad w_k = \max(0, 1 - |k - y|) $$

    Parameters
    ----------
    logits : float, shape (..., n + 1)
        $z$, finite, n >= 1: one a bin.
    targets : float, shape (...)
        $y$, the distance in units of the stride, in [0, n]. Both ends are legal. A constant.

    Returns
    -------
    float64, shape (...)
        At least the entropy of the two weights, which no finite logits attain unless n = 1.

    Raises
    ------
    SpecError
        A shape does not fit, a logit is not finite, a target is outside [0, n].

    Source
    ------
    Paper, equation 6. Rulings: at a whole number $y = i$ this is cross entropy with class $i$; at $y = n$ the
    lower bin is $n - 1$ with weight 0 (public code reads bin $n + 1$ there).

    Examples
    --------
    Equal logits over five bins give $\ln 5$ for every target.

    >>> distribution_focal_loss([[0.0] * 5] * 3, [0.0, 2.3, 4.0]).round(6)
    array([1.609438, 1.609438, 1.609438])
    """
    # CHECKS
    z = _logits(logits)
    y = _targets(targets, z)

    # QUANTITIES OF THE PAPER
    w = _target_distribution(z, y)

    # RESULT
    return weighted(w, -_log_softmax(z)).sum(axis=-1)


def distribution_focal_loss_grad(logits: ArrayLike, targets: ArrayLike) -> Float:
    r"""Derivative of the sum of `distribution_focal_loss` with respect to the logits.

    $\partial\,\mathrm{DFL} / \partial z_k = S_k - w_k$. The derivatives of a side sum to 0.

    Parameters, errors: as `distribution_focal_loss`. Returns float64, shape (..., n + 1).

    Source
    ------
    Derivative of paper, equation 6.

    Examples
    --------
    >>> distribution_focal_loss_grad([[0.0] * 4], [2.25]).tolist()
    [[0.25, 0.25, -0.5, 0.0]]
    """
    # CHECKS
    z = _logits(logits)
    y = _targets(targets, z)

    # QUANTITIES OF THE PAPER
    w = _target_distribution(z, y)
    one_minus_w = np.abs(_bins(z) - y[..., None])  # where w is not 0

    # RESULT
    # equal; the latter is accurate also where S_k rounds to 1
    return np.where(w < 0.5, _softmax(z) - w, one_minus_w - _one_minus_softmax(z))


def distribution_expectation(logits: ArrayLike) -> Float:
    r"""Distance that a distribution stands for: its expectation over the bins.

    $$ \hat y = \sum_{k=0}^{n} S_k \, k $$

    Parameters
    ----------
    logits : float, shape (..., n + 1)
        $z$, finite, n >= 1: one a bin.

    Returns
    -------
    float64, shape (...)
        In [0, n], in units of the stride.

    Raises
    ------
    SpecError
        There are fewer than two bins, or a logit is not finite.

    Source
    ------
    Paper, equation 5. The expectation, not the most likely bin: it has a gradient and hits fractions.

    Examples
    --------
    Weights 1 : 3 on the bins 0 and 1.

    >>> distribution_expectation([0.0, np.log(3.0)]).round(6)
    np.float64(0.75)
    """
    # CHECKS
    z = _logits(logits)

    # QUANTITIES OF THE PAPER
    expectation: Float = np.sum(_softmax(z) * _bins(z), axis=-1)

    # RESULT
    return expectation


def distribution_expectation_grad(logits: ArrayLike) -> Float:
    r"""Derivative of the sum of `distribution_expectation` with respect to the logits.

    $$ \frac{\partial \hat y}{\partial z_k} = S_k (k - \hat y) = S_k \sum_j S_j (k - j) $$

    Parameters, errors: as `distribution_expectation`. Returns float64, shape (..., n + 1).

    Source
    ------
    Derivative of paper, equation 5.

    Examples
    --------
    >>> distribution_expectation_grad([0.0, 0.0, 0.0]).round(6)
    array([-0.333333,  0.      ,  0.333333])
    """
    # CHECKS
    z = _logits(logits)

    # QUANTITIES OF THE PAPER
    s = _softmax(z)
    bins = _bins(z)
    k_minus_expectation: Float = np.sum(s[..., None, :] * (bins[:, None] - bins), axis=-1)

    # RESULT
    return s * k_minus_expectation


def distances_from_boxes(
    points: ArrayLike, boxes: ArrayLike, strides: ArrayLike, *, num_bins: int, margin: float | None = 0.1
) -> Float:
    r"""Training targets: distances from a point to the sides of its box, in strides.

    $$ y = \min\big(\max(d / s, 0), \; n - m\big), \qquad d = (p_x - x_1, \; p_y - y_1, \; x_2 - p_x, \; y_2 - p_y) $$

    Parameters
    ----------
    points : float, shape (..., 2)
        $p$, x and y in pixels.
    boxes : float, shape (..., 4)
        x1, y1, x2, y2 in pixels.
    strides : float > 0, shape (...)
        $s$, pixels between neighbouring points of the level.
    num_bins : int >= 2
        n + 1.
    margin : float >= 0 or None
        $m$, what is kept free below the last bin (GFL's code: 0.1). None does not clamp at either end.

    Returns
    -------
    float64, shape (..., 4)
        Left, top, right, bottom.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite, a stride is not positive, `margin` exceeds n.

    Source
    ------
    Paper, section on distribution focal loss; clamping: the authors' code. A point outside its box, or a box
    larger than the bins reach, therefore has a target that no box has.

    Examples
    --------
    >>> distances_from_boxes([20.0, 20.0], [4.0, 12.0, 44.0, 300.0], 8.0, num_bins=9).tolist()
    [2.0, 1.0, 3.0, 7.9]
    """
    # CHECKS
    box = finite_array("boxes", boxes)
    _check_last_axis("boxes", box, 4)
    point = finite_array("points", points, shape=(*box.shape[:-1], 2))
    stride = _strides(strides, shape=box.shape[:-1])
    n = count("num_bins", num_bins, low=2) - 1
    if margin is not None and non_negative("margin", margin) > n:
        raise SpecError(f"margin: expected None or a number in [0, {n}], got {margin}")

    # QUANTITIES OF THE PAPER
    to_sides = np.concatenate([point - box[..., :2], box[..., 2:] - point], axis=-1)
    in_strides = to_sides / stride[..., None]

    # RESULT
    return in_strides if margin is None else np.minimum(np.maximum(in_strides, 0.0), n - margin)


def boxes_from_distances(points: ArrayLike, distances: ArrayLike, strides: ArrayLike) -> Float:
    r"""Boxes that distances stand for: $(p_x - s l, \; p_y - s t, \; p_x + s r, \; p_y + s b)$.

    Parameters
    ----------
    points : float, shape (..., 2)
        $p$, x and y in pixels.
    distances : float, shape (..., 4)
        Left, top, right, bottom, in strides; see `distribution_expectation`.
    strides : float > 0, shape (...)
        $s$ in pixels.

    Returns
    -------
    float64, shape (..., 4)
        x1, y1, x2, y2 in pixels, not clipped to an image.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite, a stride is not positive.

    Source
    ------
    Paper, section on distribution focal loss; FCOS's parametrisation of a box.

    Examples
    --------
    >>> boxes_from_distances([20.0, 20.0], [2.0, 1.0, 3.0, 0.5], 8.0).tolist()
    [4.0, 12.0, 44.0, 24.0]
    """
    # CHECKS
    distance = finite_array("distances", distances)
    _check_last_axis("distances", distance, 4)
    point = finite_array("points", points, shape=(*distance.shape[:-1], 2))
    stride = _strides(strides, shape=distance.shape[:-1])

    # QUANTITIES OF THE PAPER
    offset = distance * stride[..., None]

    # RESULT
    return np.concatenate([point - offset[..., :2], point + offset[..., 2:]], axis=-1)


def boxes_from_distances_grad(points: ArrayLike, distances: ArrayLike, strides: ArrayLike) -> Float:
    """Derivative of the sum of `boxes_from_distances` with respect to the distances.

    Minus the stride for left and top, the stride for right and bottom.

    Parameters, errors: as `boxes_from_distances`. Returns float64, shape (..., 4).

    Source
    ------
    As `boxes_from_distances`.

    Examples
    --------
    >>> boxes_from_distances_grad([20.0, 20.0], [2.0, 1.0, 3.0, 0.5], 8.0).tolist()
    [-8.0, -8.0, 8.0, 8.0]
    """
    # CHECKS
    boxes = boxes_from_distances(points, distances, strides)
    stride = _strides(strides, shape=boxes.shape[:-1])

    # RESULT
    return np.stack([-stride, -stride, stride, stride], axis=-1)


def _logits(logits: ArrayLike) -> Float:
    z = finite_array("logits", logits)
    if z.ndim == 0 or z.shape[-1] < 2:
        raise SpecError(f"logits: expected shape (..., n + 1) with n >= 1, got {z.shape}")
    return z


def _targets(targets: ArrayLike, z: Float) -> Float:
    y = finite_array("targets", targets, shape=z.shape[:-1])
    n = z.shape[-1] - 1
    if ((y < 0) | (y > n)).any():
        raise SpecError(
            f"targets: expected distances in [0, {n}] for {n + 1} bins, got {y.min()} to {y.max()};"
            " clamp them, see distances_from_boxes"
        )
    return y


def _bins(z: Float) -> Int:
    """Values of the bins: 0, 1, ..., n."""
    return np.arange(z.shape[-1])


def _strides(strides: ArrayLike, *, shape: tuple[int, ...]) -> Float:
    stride = finite_array("strides", strides, shape=shape)
    if (stride <= 0).any():
        raise SpecError(f"strides: expected numbers > 0, got {stride.min()}")
    return stride


def _check_last_axis(name: str, array: Float, length: int) -> None:
    if array.ndim == 0 or array.shape[-1] != length:
        raise SpecError(f"{name}: expected shape (..., {length}), got {array.shape}")


def _target_distribution(z: Float, y: Float) -> Float:
    """Weight 1 - |k - y| of the two bins around the target, 0 of all others; a tiny one is exact too."""
    k, target = _bins(z), y[..., None]
    return np.maximum(0.0, np.minimum((k + 1) - target, target - (k - 1)))


def _exponentials(z: Float) -> Float:
    return np.exp(_below_highest(z))


def _softmax(z: Float) -> Float:
    e = _exponentials(z)
    s: Float = e / e.sum(axis=-1, keepdims=True)
    return s


def _one_minus_softmax(z: Float) -> Float:
    """As the sum of all other shares, which does not cancel."""
    all_but_one = 1.0 - np.eye(z.shape[-1])
    one_minus_s: Float = np.sum(_softmax(z)[..., None, :] * all_but_one, axis=-1)
    return one_minus_s


def _log_softmax(z: Float) -> Float:
    """Logarithm of the softmax; the largest share's is log1p of the others, as it may round to 1."""
    is_highest = _bins(z) == z.argmax(axis=-1)[..., None]
    others = np.where(is_highest, 0.0, _exponentials(z)).sum(axis=-1, keepdims=True)
    log_s: Float = _below_highest(z) - np.log1p(others)
    return log_s


def _below_highest(z: Float) -> Float:
    """Logits minus the highest of their distribution."""
    with np.errstate(over="ignore"):  # may pass the range of float64: the exponential is 0 there
        below: Float = z - z.max(axis=-1, keepdims=True)
    return below
