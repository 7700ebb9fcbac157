r"""Generalized focal loss: the common form of quality and distribution focal loss, and the detector's sum of both.

Source: Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object
Detection", NeurIPS 2020 (arXiv 2006.04388), equations 7 and 8.

A value between two neighbouring values $y_l < y_r$ is estimated by a probability for each. The focal loss is the
case 0, 1 with the target at an end, quality focal loss the case 0, 1 with the target in between, distribution
focal loss the case of two neighbouring bins without focal factor.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    SpecError,
    bool_array,
    finite_array,
    float_array,
    fraction_array,
    label_array,
    non_negative,
    one_of,
)
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    distribution_focal_loss,
    distribution_focal_loss_grad,
)
from steelyard.reference.soft_sampling.quality_focal_loss import (
    quality_focal_loss_with_labels,
    quality_focal_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.soft_target import weighted

BOX_NORMALISERS = ("floored_scores", "foreground", "scores")


def generalized_focal_loss(
    probabilities: ArrayLike, targets: ArrayLike, left: ArrayLike, right: ArrayLike, *, beta: float = 2.0
) -> Float:
    r"""Generalized focal loss of every element, in nats.

    With the estimate $\hat y = y_l p_l + y_r p_r$:

    $$ \mathrm{GFL} = -|y - \hat y|^\beta \, \big((y_r - y) \log p_l + (y - y_l) \log p_r\big) $$

    Parameters
    ----------
    probabilities : float in [0, 1], shape (..., 2)
        $p_l, p_r$. The paper has $p_l + p_r = 1$; that is not asked for, as two neighbouring bins of a softmax
        hold less.
    targets : float, shape (...)
        $y$ in $[y_l, y_r]$. A constant.
    left, right : float, shape (...)
        $y_l < y_r$.
    beta : float >= 0
        $\beta$; at 0 there is no focal factor.

    Returns
    -------
    float64, shape (...)
        With $p_l + p_r = 1$ and `beta` > 0 it is 0 exactly where $\hat y = y$.

    Raises
    ------
    SpecError
        A shape does not fit, a probability is outside [0, 1], a target outside $[y_l, y_r]$, `left` not below
        `right`, `beta` negative.

    Source
    ------
    Paper, equation 7. The distance is that of the values $y$ and $\hat y$, not of probabilities, so the loss
    scales with $s^{\beta + 1}$ when the values are scaled by $s$.

    Examples
    --------
    Estimate 2.4 of a target 2.3: $0.1^2 \cdot -(0.7 \ln 0.6 + 0.3 \ln 0.4)$.

    >>> generalized_focal_loss([0.6, 0.4], 2.3, 2.0, 3.0).round(6)
    np.float64(0.006325)
    """
    # CHECKS
    p, y, y_l, y_r = _checked(probabilities, targets, left, right)
    beta = non_negative("beta", beta)

    # QUANTITIES OF THE PAPER
    distance = np.abs(y_l * p[..., 0] + y_r * p[..., 1] - y)
    cross_entropy = _cross_entropy(p, y, y_l, y_r)

    # RESULT
    return weighted(distance**beta, cross_entropy)


def generalized_focal_loss_grad(
    probabilities: ArrayLike, targets: ArrayLike, left: ArrayLike, right: ArrayLike, *, beta: float = 2.0
) -> Float:
    r"""Derivatives of `generalized_focal_loss` with respect to its two probabilities, each taken as free.

    With $e = \hat y - y$, the cross entropy $C$ (the bracket, negated), and $w_l = y_r - y$, $w_r = y - y_l$:

    $$ \frac{\partial\,\mathrm{GFL}}{\partial p_j}
       = \beta \, |e|^{\beta - 1} \, \mathrm{sign}(e) \, y_j \, C - |e|^\beta \, \frac{w_j}{p_j} $$

    Along $p_l = 1 - p_r$ the derivative by $p_r$ is the second minus the first.

    Parameters, errors: as `generalized_focal_loss`.

    Returns
    -------
    float64, shape (..., 2)
        Minus infinity where a probability of 0 has a weight. At $e = 0$ the first term is 0, for every `beta`.

    Source
    ------
    Derivative of paper, equation 7.

    Examples
    --------
    Without the focal factor: $-w_j / p_j$.

    >>> generalized_focal_loss_grad([0.5, 0.5], 2.25, 2.0, 3.0, beta=0.0).tolist()
    [-1.5, -0.5]
    """
    # CHECKS
    p, y, y_l, y_r = _checked(probabilities, targets, left, right)
    beta = non_negative("beta", beta)

    # QUANTITIES OF THE PAPER
    values = np.stack([y_l, y_r], axis=-1)
    weights = np.stack([y_r - y, y - y_l], axis=-1)
    error = (values * p).sum(axis=-1) - y
    distance = np.abs(error)
    cross_entropy = _cross_entropy(p, y, y_l, y_r)
    factor = distance**beta
    slope_of_factor = np.sign(error) * beta * factor / np.where(distance == 0.0, np.inf, distance)

    # RESULT
    by_factor = weighted(values, weighted(slope_of_factor, cross_entropy)[..., None])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_log = weighted(factor[..., None], np.where(weights == 0.0, 0.0, weights / p))
        return np.where(np.isinf(by_log), -np.inf, by_factor - by_log)  # 1 / p grows faster than log p


def generalized_focal_detection_loss(  # noqa: PLR0913 - equation 8 has that many parts
    class_logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    distance_logits: ArrayLike,
    distance_targets: ArrayLike,
    giou_losses: ArrayLike,
    *,
    beta: float = 2.0,
    giou_weight: float = 2.0,
    distribution_weight: float = 0.25,
    box_normaliser: str = "floored_scores",
) -> float:
    r"""Loss of a mini-batch of a detector that is trained with quality and distribution focal loss.

    $$ L = \frac{1}{N} \sum_z \sum_c \mathrm{QFL}_{zc}
         + \frac{1}{V} \sum_{z\,\mathrm{foreground}} v_z
           \Big(\lambda_0 \, L_{\mathrm{GIoU}, z} + \lambda_1 \, \tfrac14 \sum_{\mathrm{sides}} \mathrm{DFL}\Big) $$

    where $v_z = \max_c \sigma(x_{zc})$ is the point's own highest score, a constant weight, and $N$ sums over the
    images the number of their foreground points, an image without any counting as one.

    ==================  ================================================================================
    `box_normaliser`    $V$
    ==================  ================================================================================
    ``floored_scores``  $\max(1, \sum v_z)$ over the foreground: mmdet 3
    ``scores``          $\sum v_z$ over the foreground: the authors' code (0/0 there without foreground)
    ``foreground``      $N$: the paper's equation 8 read literally
    ==================  ================================================================================

    Parameters
    ----------
    class_logits : float, shape (B, N, C)
        $x$, one sigmoid channel a foreground class.
    labels : int, shape (B, N)
        0..C-1 foreground, C background, -1 ignore.
    quality : float, shape (B, N)
        IoU of the predicted box with its object, in [0, 1]. A constant.
    distance_logits : float, shape (B, N, 4, n + 1)
        See `distribution_focal_loss`.
    distance_targets : float, shape (B, N, 4)
        In [0, n]; see `distances_from_boxes`. A constant.
    giou_losses : float, shape (B, N)
        1 - GIoU of the predicted box with its object, of every point.
    beta : float >= 0
        Of the quality focal loss.
    giou_weight, distribution_weight : float >= 0
        $\lambda_0$ and $\lambda_1$ (paper: 2 and 1/4).
    box_normaliser : str
        A name of the table.

    Of `quality`, `distance_logits`, `distance_targets` and `giou_losses` only foreground points are read.

    Returns
    -------
    float
        Without a foreground point the box terms are 0 under every name.

    Raises
    ------
    SpecError
        A shape does not fit, a value that is read is out of range, a parameter or the name is.

    Source
    ------
    Paper, equation 8. Rulings: the paper's 1/4 is applied to the mean of the four sides, as in both codes, so a
    side weighs 1/16; the paper's "quality scores" are the predicted ones.

    Examples
    --------
    One image, one foreground point, two classes and two bins, all logits 0. With $v = 1/2$ floored to 1 the loss
    is $(0.2^2 + 0.25) \ln 2 + 0.5 \cdot (2 \cdot 0.3 + 0.25 \ln 2)$.

    >>> loss = generalized_focal_detection_loss(
    ...     [[[0.0, 0.0]]], [[1]], [[0.7]], np.zeros((1, 1, 4, 2)), np.full((1, 1, 4), 0.4), [[0.3]])
    >>> round(loss, 6)
    0.587656
    """
    # CHECKS
    x, foreground = _points(class_logits, labels)
    y, z, giou_loss = _box_inputs(foreground, distance_logits, distance_targets, giou_losses)
    giou_weight = non_negative("giou_weight", giou_weight)
    distribution_weight = non_negative("distribution_weight", distribution_weight)
    one_of("box_normaliser", box_normaliser, BOX_NORMALISERS)

    # QUANTITIES OF THE PAPER
    num_foreground = _floored_foreground(foreground)
    quality_term = quality_focal_loss_with_labels(x, labels, quality, beta=beta).sum() / num_foreground
    v = _box_weights(x, foreground, box_normaliser)
    giou_term = (v * giou_loss).sum()
    distribution_term = (v * distribution_focal_loss(z, y).mean(axis=-1)).sum()

    # RESULT
    return float(quality_term + giou_weight * giou_term + distribution_weight * distribution_term)


def generalized_focal_detection_loss_grad_class_logits(  # noqa: PLR0913 - equation 8 has that many parts
    class_logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    distance_logits: ArrayLike,
    distance_targets: ArrayLike,
    giou_losses: ArrayLike,
    *,
    beta: float = 2.0,
    giou_weight: float = 2.0,
    distribution_weight: float = 0.25,
    box_normaliser: str = "floored_scores",
) -> Float:
    """Derivative of `generalized_focal_detection_loss` with respect to the class logits.

    Only the quality focal loss has one: the weights of the box terms are constants.

    Parameters, errors: as `generalized_focal_detection_loss`. Returns float64, shape (B, N, C).

    Source
    ------
    Derivative of paper, equation 8; the weights are detached in the authors' code and in mmdet.

    Examples
    --------
    >>> generalized_focal_detection_loss_grad_class_logits(
    ...     [[[0.0, 0.0]]], [[1]], [[0.7]], np.zeros((1, 1, 4, 2)), np.full((1, 1, 4), 0.4), [[0.3]]).round(6)
    array([[[ 0.298287, -0.077315]]])
    """
    # CHECKS
    x, foreground = _points(class_logits, labels)
    _box_inputs(foreground, distance_logits, distance_targets, giou_losses)
    non_negative("giou_weight", giou_weight)
    non_negative("distribution_weight", distribution_weight)
    one_of("box_normaliser", box_normaliser, BOX_NORMALISERS)

    # RESULT
    return quality_focal_loss_with_labels_grad(x, labels, quality, beta=beta) / _floored_foreground(foreground)


def generalized_focal_detection_loss_grad_distance_logits(  # noqa: PLR0913 - equation 8 has that many parts
    class_logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    distance_logits: ArrayLike,
    distance_targets: ArrayLike,
    giou_losses: ArrayLike,
    *,
    beta: float = 2.0,
    giou_weight: float = 2.0,
    distribution_weight: float = 0.25,
    box_normaliser: str = "floored_scores",
) -> Float:
    r"""Derivative of `generalized_focal_detection_loss` with respect to the distance logits.

    That of distribution focal loss times $\lambda_1 v_z / (4 V)$, and 0 at points that are not foreground. What
    reaches the distances through the GIoU is not in it: the GIoU losses are an argument of their own.

    Parameters, errors: as `generalized_focal_detection_loss`. Returns float64, shape (B, N, 4, n + 1).

    Source
    ------
    Derivative of paper, equation 8.

    Examples
    --------
    The weight of a side is $0.25 \cdot 0.5 / 4$, its derivative $\pm 0.1$.

    >>> generalized_focal_detection_loss_grad_distance_logits(
    ...     [[[0.0, 0.0]]], [[1]], [[0.7]], np.zeros((1, 1, 4, 2)), np.full((1, 1, 4), 0.4), [[0.3]])[0, 0, 0]
    array([-0.003125,  0.003125])
    """
    # CHECKS
    x, foreground = _points(class_logits, labels)
    y, z, _ = _box_inputs(foreground, distance_logits, distance_targets, giou_losses)
    quality_focal_loss_with_labels(x, labels, quality, beta=beta)
    non_negative("giou_weight", giou_weight)
    distribution_weight = non_negative("distribution_weight", distribution_weight)
    one_of("box_normaliser", box_normaliser, BOX_NORMALISERS)

    # QUANTITIES OF THE PAPER
    v = _box_weights(x, foreground, box_normaliser)
    weight_of_side: Float = distribution_weight * v / y.shape[-1]

    # RESULT
    return weight_of_side[..., None, None] * distribution_focal_loss_grad(z, y)


def generalized_focal_detection_loss_grad_giou_losses(  # noqa: PLR0913 - equation 8 has that many parts
    class_logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    distance_logits: ArrayLike,
    distance_targets: ArrayLike,
    giou_losses: ArrayLike,
    *,
    beta: float = 2.0,
    giou_weight: float = 2.0,
    distribution_weight: float = 0.25,
    box_normaliser: str = "floored_scores",
) -> Float:
    r"""Derivative of `generalized_focal_detection_loss` with respect to the GIoU losses.

    The weight of each: $\lambda_0 v_z / V$ at a foreground point, else 0.

    Parameters, errors: as `generalized_focal_detection_loss`. Returns float64, shape (B, N).

    Source
    ------
    Derivative of paper, equation 8.

    Examples
    --------
    >>> generalized_focal_detection_loss_grad_giou_losses(
    ...     [[[0.0, 0.0]]], [[1]], [[0.7]], np.zeros((1, 1, 4, 2)), np.full((1, 1, 4), 0.4), [[0.3]])
    array([[1.]])
    """
    # CHECKS
    x, foreground = _points(class_logits, labels)
    _box_inputs(foreground, distance_logits, distance_targets, giou_losses)
    quality_focal_loss_with_labels(x, labels, quality, beta=beta)
    giou_weight = non_negative("giou_weight", giou_weight)
    non_negative("distribution_weight", distribution_weight)
    one_of("box_normaliser", box_normaliser, BOX_NORMALISERS)

    # RESULT
    return giou_weight * _box_weights(x, foreground, box_normaliser)


def _checked(
    probabilities: ArrayLike, targets: ArrayLike, left: ArrayLike, right: ArrayLike
) -> tuple[Float, Float, Float, Float]:
    p = fraction_array("probabilities", probabilities)
    if p.ndim == 0 or p.shape[-1] != 2:
        raise SpecError(f"probabilities: expected shape (..., 2), got {p.shape}")
    y = finite_array("targets", targets, shape=p.shape[:-1])
    y_l = finite_array("left", left, shape=y.shape)
    y_r = finite_array("right", right, shape=y.shape)
    if not (y_l < y_r).all():
        raise SpecError("left: expected every value below that of right")
    if not ((y_l <= y) & (y <= y_r)).all():
        raise SpecError("targets: expected every value in [left, right]")
    return p, y, y_l, y_r


def _cross_entropy(p: Float, y: Float, y_l: Float, y_r: Float) -> Float:
    """The bracket of equation 7, negated; 0 log 0 is 0."""
    with np.errstate(divide="ignore"):
        minus_log_p = -np.log(p)
    return weighted(np.stack([y_r - y, y - y_l], axis=-1), minus_log_p).sum(axis=-1)


def _points(class_logits: ArrayLike, labels: ArrayLike) -> tuple[Float, Bool]:
    """Class logits (B, N, C), and which points are foreground (B, N)."""
    x = float_array("class_logits", class_logits)
    if x.ndim != 3 or 0 in (x.shape[0], x.shape[-1]):
        raise SpecError(f"class_logits: expected shape (B, N, C) with B >= 1 and C >= 1, got {x.shape}")
    num_classes = x.shape[-1]
    label = label_array("labels", labels, num_classes=num_classes, shape=x.shape[:-1])
    return x, bool_array("foreground", (label >= 0) & (label < num_classes))


def _box_inputs(
    foreground: Bool, distance_logits: ArrayLike, distance_targets: ArrayLike, giou_losses: ArrayLike
) -> tuple[Float, Float, Float]:
    """Distance targets, distance logits and GIoU losses, 0 at points that are not foreground."""
    y = float_array("distance_targets", distance_targets, shape=(*foreground.shape, 4))
    z = float_array("distance_logits", distance_logits)
    if z.ndim != 4 or z.shape[:-1] != y.shape:
        raise SpecError(f"distance_logits: expected shape {(*y.shape, 'n + 1')}, got {z.shape}")
    giou_loss = float_array("giou_losses", giou_losses, shape=foreground.shape)
    giou_loss = finite_array("giou_losses", np.where(foreground, giou_loss, 0.0))
    return np.where(foreground[..., None], y, 0.0), np.where(foreground[..., None, None], z, 0.0), giou_loss


def _floored_foreground(foreground: Bool) -> float:
    """Foreground points of the mini-batch, where an image without any counts as one."""
    return float(np.maximum(foreground.sum(axis=1), 1).sum())


def _box_weights(x: Float, foreground: Bool, box_normaliser: str) -> Float:
    """Share of each point in the box terms: its highest score, normalised; 0 at points that are not foreground."""
    v: Float = np.where(foreground, sigmoid(x).max(axis=-1), 0.0)
    if not v.any():
        return v
    normaliser = {
        "floored_scores": max(1.0, float(v.sum())),
        "scores": float(v.sum()),
        "foreground": _floored_foreground(foreground),
    }[box_normaliser]
    return v / normaliser
