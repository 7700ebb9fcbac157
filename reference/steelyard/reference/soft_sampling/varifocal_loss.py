r"""Varifocal loss: focal for the negatives only, and positives weighted by how well their box fits.

Source: Zhang, Wang, Dayoub, Suenderhauf, "VarifocalNet: An IoU-aware Dense Object Detector", CVPR 2021
(arXiv 2008.13367), equation 2.

Like quality focal loss, the class score learns the IoU of the box. But positives are rare and worth keeping, so
their loss is not scaled down when they are easy; it is scaled by the target $q$, so that boxes of high IoU, which
decide average precision, count most. Only the mass of negatives is down-weighted. `alpha` weighs the negatives
here, the opposite of the focal loss.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    float_array,
    fraction_array,
    label_array,
    non_negative,
    one_of,
    optional_non_negative,
)
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_grad
from steelyard.reference.soft_sampling.quality_focal_loss import logits_targets_and_counted
from steelyard.reference.soft_sampling.soft_target import score_minus_target, soft_cross_entropy, weighted

BRANCHES = ("label", "quality")


def varifocal_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
) -> Float:
    r"""Varifocal loss of every element, in nats.

    With $p = \mathrm{sigmoid}(x)$:

    $$ \mathrm{VFL} = \begin{cases}
       -q \, \big(q \log p + (1 - q) \log(1 - p)\big) & q > 0 \\
       -\alpha \, p^\gamma \log(1 - p) & q = 0 \end{cases} $$

    Parameters
    ----------
    logits : float, shape (...,)
        $x$, any value of the dtype. Infinities give the limit, NaN gives NaN in that element only.
    targets : float in [0, 1], shape of `logits`
        $q$, the IoU of the predicted box with its object in the channel of a positive's class, else 0. A
        constant: nothing is learnt through it.
    alpha : float >= 0 or None
        Weight of the negatives (paper: 0.75). None means 1.
    gamma : float >= 0
        Focusing exponent of the negatives (paper: 2).
    iou_weighted : bool
        False drops the leading factor $q$ of the positives.

    Returns
    -------
    float64, shape of `logits`
        A positive's loss is smallest at $p = q$, where it is $q$ times the entropy of $q$: not 0.

    Raises
    ------
    SpecError
        Shapes differ, a target is outside [0, 1], a parameter is negative.

    Source
    ------
    Paper, equation 2. Ruling: an element is positive by $q > 0$ alone, so an anchor of IoU 0 is a negative; the
    authors keep its IoU at 1e-6 or more. See `varifocal_loss_with_labels` for the branch by label.

    Examples
    --------
    At $x = 0$: $0.8 \cdot \ln 2$ and $0.75 \cdot 1/4 \cdot \ln 2$.

    >>> varifocal_loss([0.0, 0.0], [0.8, 0.0]).round(6)
    array([0.554518, 0.129965])
    """
    # CHECKS
    x = float_array("logits", logits)
    q = fraction_array("targets", targets, shape=x.shape)
    alpha = optional_non_negative("alpha", alpha)
    gamma = non_negative("gamma", gamma)

    # RESULT
    return _varifocal_loss(x, q, q > 0.0, alpha, gamma, iou_weighted=iou_weighted)


def varifocal_loss_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
) -> Float:
    r"""Derivative of `varifocal_loss` with respect to the logit of the same element.

    $q \, (p - q)$ for a positive; for a negative, with $p^\gamma$ differentiated,
    $\alpha \, p^\gamma \, (p - \gamma \, (1 - p) \log(1 - p))$.

    Parameters, errors: as `varifocal_loss`. Returns float64, shape of `logits`.

    Source
    ------
    Derivative of paper, equation 2.

    Examples
    --------
    $0.8 \cdot (0.5 - 0.8)$ and $0.75 \cdot 1/4 \cdot (1/2 + \ln 2)$:

    >>> varifocal_loss_grad([0.0, 0.0], [0.8, 0.0]).round(6)
    array([-0.24    ,  0.223715])
    """
    # CHECKS
    x = float_array("logits", logits)
    q = fraction_array("targets", targets, shape=x.shape)
    alpha = optional_non_negative("alpha", alpha)
    gamma = non_negative("gamma", gamma)

    # RESULT
    return _varifocal_loss_grad(x, q, q > 0.0, alpha, gamma, iou_weighted=iou_weighted)


def varifocal_loss_with_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    branch: str = "quality",
) -> Float:
    r"""Varifocal loss of every anchor in every class channel.

    The target of the channel of a foreground anchor's class is the anchor's quality, all others are 0; an
    ignored anchor has loss 0 in every channel.

    Parameters
    ----------
    logits : float, shape (..., C)
        One sigmoid channel a foreground class.
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore.
    quality : float, shape (...)
        IoU of the predicted (refined) box with its object, in [0, 1] at foreground anchors. Not read at others.
    alpha, gamma, iou_weighted
        As in `varifocal_loss`.
    branch : str
        What makes the channel of a foreground anchor's class a positive. ``"quality"``: that its quality is
        above 0 (paper). ``"label"``: the label, so that with quality 0 its loss is 0 (ultralytics), or with
        `iou_weighted` off the cross entropy against 0.

    Returns
    -------
    float64, shape (..., C)
        Summed and divided by `normalise_focal_loss(..., normaliser="batch_foreground")` in a detector.

    Raises
    ------
    SpecError
        A shape does not fit, a label is unknown, a foreground anchor's quality is outside [0, 1], a parameter
        is out of range.

    Source
    ------
    Paper, equation 2. Ruling: ignored anchors contribute nothing (the authors' code trains them
    as negatives in this loss, though not in the focal loss).

    Examples
    --------
    Two classes at logit 0; the anchors are of class 1 with IoU 0.8, of class 0 with IoU 0, ignored.

    >>> x, labels, quality = [[0.0, 0.0]] * 3, [1, 0, -1], [0.8, 0.0, 0.0]
    >>> varifocal_loss_with_labels(x, labels, quality).round(6)
    array([[0.129965, 0.554518],
           [0.129965, 0.129965],
           [0.      , 0.      ]])
    >>> varifocal_loss_with_labels(x, labels, quality, branch="label")[1].round(6)
    array([0.      , 0.129965])
    """
    # CHECKS
    x, q, counted = logits_targets_and_counted(logits, labels, quality)
    is_positive = _is_positive(x, labels, q, branch)
    alpha = optional_non_negative("alpha", alpha)
    gamma = non_negative("gamma", gamma)

    # RESULT
    return np.where(counted, _varifocal_loss(x, q, is_positive, alpha, gamma, iou_weighted=iou_weighted), 0.0)


def varifocal_loss_with_labels_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    quality: ArrayLike,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    branch: str = "quality",
) -> Float:
    """Derivative of `varifocal_loss_with_labels` with respect to the logit of the same element.

    Parameters, errors: as `varifocal_loss_with_labels`. Returns float64, shape (..., C). The quality is a
    constant, so the predicted boxes get no gradient from this loss.

    Source
    ------
    Derivative of paper, equation 2.

    Examples
    --------
    >>> varifocal_loss_with_labels_grad([[0.0, 0.0]] * 2, [1, -1], [0.8, 0.0]).round(6)
    array([[ 0.223715, -0.24    ],
           [ 0.      ,  0.      ]])
    """
    # CHECKS
    x, q, counted = logits_targets_and_counted(logits, labels, quality)
    is_positive = _is_positive(x, labels, q, branch)
    alpha = optional_non_negative("alpha", alpha)
    gamma = non_negative("gamma", gamma)

    # RESULT
    return np.where(counted, _varifocal_loss_grad(x, q, is_positive, alpha, gamma, iou_weighted=iou_weighted), 0.0)


def _varifocal_loss(
    x: Float, q: Float, is_positive: Bool, alpha: float | None, gamma: float, *, iou_weighted: bool
) -> Float:
    weight = q if iou_weighted else np.ones(q.shape)
    positive = weighted(weight, soft_cross_entropy(x, q))
    negative = sigmoid_focal_loss(x, np.zeros(x.shape), alpha=None, gamma=gamma)
    return np.where(is_positive, positive, weighted(1.0 if alpha is None else alpha, negative))


def _varifocal_loss_grad(
    x: Float, q: Float, is_positive: Bool, alpha: float | None, gamma: float, *, iou_weighted: bool
) -> Float:
    weight = q if iou_weighted else np.ones(q.shape)
    positive = weight * score_minus_target(x, q)
    negative = sigmoid_focal_loss_grad(x, np.zeros(x.shape), alpha=None, gamma=gamma)
    return np.where(is_positive, positive, weighted(1.0 if alpha is None else alpha, negative))


def _is_positive(x: Float, labels: ArrayLike, q: Float, branch: str) -> Bool:
    num_classes = x.shape[-1]
    label = label_array("labels", labels, num_classes=num_classes)
    if one_of("branch", branch, BRANCHES) == "quality":
        return q > 0.0
    return label[..., None] == np.arange(num_classes)
