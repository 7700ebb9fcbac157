r"""Quality focal loss: one score a class that says both what it is and how well the box fits.

Source: Li, Wang, Wu, Chen, Hu, Li, Tang, Yang, "Generalized Focal Loss: Learning Qualified and Distributed
Bounding Boxes for Dense Object Detection", NeurIPS 2020 (arXiv 2006.04388), equation 2.

Dense detectors train a class score and, in a branch beside it, the quality (IoU) of the box, and multiply the
two when they rank boxes: a background anchor with a chance high quality can then outrank a true one. Quality
focal loss trains the class score itself towards the IoU. The target is a number in [0, 1], so the focal factor
$(1 - p_t)^\gamma$ becomes the distance of the score from it, $|y - \sigma|^\beta$.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    SpecError,
    float_array,
    fraction_array,
    label_array,
    non_negative,
)
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling.soft_target import score_minus_target, soft_cross_entropy


def quality_focal_loss(logits: ArrayLike, targets: ArrayLike, *, beta: float = 2.0) -> Float:
    r"""Quality focal loss of every element, in nats.

    With $\sigma = \mathrm{sigmoid}(x)$:

    $$ \mathrm{QFL} = |y - \sigma|^\beta \, \big(-(1 - y) \log(1 - \sigma) - y \log \sigma\big) $$

    For $y$ in {0, 1} this is the focal loss with $\gamma = \beta$ and without $\alpha$.

    Parameters
    ----------
    logits : float, shape (...,)
        $x$, any value of the dtype. Infinities give the limit, NaN gives NaN in that element only.
    targets : float in [0, 1], shape of `logits`
        $y$, the quality in the channel of the true class of a foreground anchor, 0 everywhere else. A constant:
        nothing is learnt through it, although the IoU is computed from predicted boxes.
    beta : float >= 0
        $\beta$ (paper: 2, the best of 0, 1, 2, 2.5, 4). At 0 this is cross entropy with a soft target.

    Returns
    -------
    float64, shape of `logits`
        Never negative; for `beta` > 0 it is 0 exactly where $\sigma = y$.

    Raises
    ------
    SpecError
        Shapes differ, a target is outside [0, 1], `beta` is negative.

    Source
    ------
    Paper, equation 2. Ruling: the power is taken of the absolute distance; without it, odd exponents give
    negative losses and fractional ones NaN where the score is above the target.

    Examples
    --------
    At $x = 0$ the distance from 0.7 is 0.2 and the cross entropy is $\ln 2$: $0.2^2 \cdot \ln 2$. The second
    score is right.

    >>> quality_focal_loss([0.0, 0.0], [0.7, 0.5]).round(6)
    array([0.027726, 0.      ])
    """
    # CHECKS
    x = float_array("logits", logits)
    y = fraction_array("targets", targets, shape=x.shape)
    beta = non_negative("beta", beta)

    # QUANTITIES OF THE PAPER
    distance = np.abs(score_minus_target(x, y))
    cross_entropy = soft_cross_entropy(x, y)

    # RESULT
    return distance**beta * cross_entropy


def quality_focal_loss_grad(logits: ArrayLike, targets: ArrayLike, *, beta: float = 2.0) -> Float:
    r"""Derivative of `quality_focal_loss` with respect to the logit of the same element.

    With $\delta = \sigma - y$, the cross entropy $B$, and the focal factor differentiated too:

    $$ \frac{\partial\,\mathrm{QFL}}{\partial x} = \mathrm{sign}(\delta) \, |\delta|^\beta
       \left(|\delta| + \beta \, \frac{\sigma (1 - \sigma)}{|\delta|} \, B\right) $$

    Parameters, errors: as `quality_focal_loss`.

    Returns
    -------
    float64, shape of `logits`
        0 where $\sigma = y$, for every `beta`. There the loss is smooth for `beta` > 1, has a kink at 1, and a
        cusp below 1 (the slopes on both sides are infinite): 0 is a subgradient, as it is the minimum.

    Source
    ------
    Derivative of paper, equation 2.

    Examples
    --------
    At $x = 0$, $y = 0.7$: $-0.2^2 \cdot (0.2 + 2 \cdot 0.25 / 0.2 \cdot \ln 2)$.

    >>> quality_focal_loss_grad([0.0, 0.0], [0.7, 0.5]).round(6)
    array([-0.077315,  0.      ])
    >>> quality_focal_loss_grad([0.0], [0.5], beta=0.5)
    array([0.])
    """
    # CHECKS
    x = float_array("logits", logits)
    y = fraction_array("targets", targets, shape=x.shape)
    beta = non_negative("beta", beta)

    # QUANTITIES OF THE PAPER
    delta = score_minus_target(x, y)
    distance = np.abs(delta)
    slope = sigmoid(x) * sigmoid(-x)
    # the quotient stays below 1 / epsilon; |delta|**(beta - 1) would overflow for beta < 1
    slope_by_distance = slope / np.where(delta == 0.0, np.inf, distance)
    cross_entropy = np.minimum(soft_cross_entropy(x, y), np.finfo(np.float64).max)  # 0 * inf has the limit 0

    # RESULT
    return np.sign(delta) * distance**beta * (distance + beta * slope_by_distance * cross_entropy)


def quality_focal_loss_with_labels(
    logits: ArrayLike, labels: ArrayLike, quality: ArrayLike, *, beta: float = 2.0
) -> Float:
    r"""Quality focal loss of every anchor in every class channel.

    The target of the channel of a foreground anchor's class is the anchor's quality. It replaces the negative
    term there, and is not added to it. All other targets are 0; an ignored anchor has loss 0 in every channel.

    Parameters
    ----------
    logits : float, shape (..., C)
        One sigmoid channel a foreground class.
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore.
    quality : float, shape (...)
        IoU of the predicted box with its object, in [0, 1] at foreground anchors. Not read at others.
    beta
        As in `quality_focal_loss`.

    Returns
    -------
    float64, shape (..., C)
        Summed and divided by `normalise_focal_loss(..., normaliser="batch_floored_foreground")` in a detector.

    Raises
    ------
    SpecError
        A shape does not fit, a label is unknown, a foreground anchor's quality is outside [0, 1].

    Source
    ------
    Paper, equation 2 and the text before it. Rulings: a foreground anchor of quality 0 is trained as a negative,
    and still counts as foreground; ignored anchors contribute nothing (the authors' code trains them as
    negatives).

    Examples
    --------
    Two classes at logit 0; the anchors are of class 1 with IoU 0.7, background, ignored.

    >>> quality_focal_loss_with_labels([[0.0, 0.0]] * 3, [1, 2, -1], [0.7, 0.0, 0.0]).round(6)
    array([[0.173287, 0.027726],
           [0.173287, 0.173287],
           [0.      , 0.      ]])
    """
    # CHECKS
    x, y, counted = logits_targets_and_counted(logits, labels, quality)

    # RESULT
    return np.where(counted, quality_focal_loss(x, y, beta=beta), 0.0)


def quality_focal_loss_with_labels_grad(
    logits: ArrayLike, labels: ArrayLike, quality: ArrayLike, *, beta: float = 2.0
) -> Float:
    """Derivative of `quality_focal_loss_with_labels` with respect to the logit of the same element.

    Parameters, errors: as `quality_focal_loss_with_labels`. Returns float64, shape (..., C). The quality is a
    constant, so the predicted boxes get no gradient from this loss.

    Source
    ------
    As `quality_focal_loss_grad`.

    Examples
    --------
    >>> quality_focal_loss_with_labels_grad([[0.0, 0.0]] * 2, [1, -1], [0.7, 0.0]).round(6)
    array([[ 0.298287, -0.077315],
           [ 0.      ,  0.      ]])
    """
    # CHECKS
    x, y, counted = logits_targets_and_counted(logits, labels, quality)

    # RESULT
    return np.where(counted, quality_focal_loss_grad(x, y, beta=beta), 0.0)


def logits_targets_and_counted(logits: ArrayLike, labels: ArrayLike, quality: ArrayLike) -> tuple[Float, Float, Bool]:
    """Logits (..., C), the target of every channel (..., C), and which anchors are not ignored (..., 1).

    >>> logits_targets_and_counted([[0.0, 0.0]] * 2, [1, -1], [0.7, 0.7])[1]
    array([[0. , 0.7],
           [0. , 0. ]])
    """
    x = float_array("logits", logits)
    if x.ndim == 0:
        raise SpecError("logits: expected shape (..., C), got ()")
    num_classes = x.shape[-1]
    label = label_array("labels", labels, num_classes=num_classes, shape=x.shape[:-1])
    foreground = (label >= 0) & (label < num_classes)
    q = fraction_array("quality", np.where(foreground, float_array("quality", quality, shape=label.shape), 0.0))
    is_true_class = label[..., None] == np.arange(num_classes)
    return x, np.where(is_true_class, q[..., None], 0.0), (label != -1)[..., None]
