r"""PISA, positives: the samples that matter most are the best located ones around each object (IoU-HLR, ISR-P).

Source: Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821); the first
author's code in mmdet; notation of Oksuz et al., "Imbalance Problems in Object Detection: A Review", equations 5-6.

Average precision asks for one good detection of each object, not for many fair ones. So the positives of a class
are ranked: first the best box of every object, then every second best, and so on (IoU hierarchical local rank).
Importance-based sample reweighting (ISR-P) lets the weight in the classification loss fall with the rank and keeps
the sum of the losses as it was.

The arrays hold a whole mini-batch: the ranks of a class run through all its images. Rankings put the higher number
first, of equal ones the lower index; NaN is lower than every number.
"""

import math
from collections.abc import Hashable, Sequence

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
    fraction,
    int_array,
    label_array,
    non_negative,
    one_of,
)

DENOMINATORS = ("class", "max")


def iou_hierarchical_local_rank(
    iou: ArrayLike,
    labels: ArrayLike,
    gt_index: ArrayLike,
    image_index: ArrayLike | None = None,
    *,
    num_classes: int,
) -> Int:
    r"""IoU-HLR: rank of every positive among the positives of its class in the mini-batch, 0 the best.

    For every class $j$ with $n_j$ positives:

    1. the positives of each object, ordered by descending IoU, get the local rank $\rho_i = 0, 1, \ldots$;
    2. all positives of the class, ordered by ascending $\rho$ and, of equal $\rho$, by descending IoU, get the rank
       $r_i = 0, 1, \ldots, n_j - 1$.

    Parameters
    ----------
    iou : float, shape (..., N)
        Overlap of the *regressed* box (the prediction decoded for the true class) with its ground truth, a
        constant. Only the order counts, so that any measure of localisation will do.
    labels : int, shape of `iou`
        0..C-1 foreground, C background, -1 ignore. Positives are those of the foreground.
    gt_index : int, shape of `iou`
        Ground-truth box of each positive, counted within its image; any number elsewhere.
    image_index : int, shape of `iou`, or None
        Image of each sample. None: every row (the last axis) is an image.
    num_classes : int >= 1
        C.

    Returns
    -------
    int64, shape of `iou`
        $r_i$ for positives, -1 elsewhere.

    Raises
    ------
    SpecError
        A shape does not fit, a label is out of range.

    Source
    ------
    Paper, on IoU-HLR. Rulings: an object is the pair of image and ground-truth index (mmdet 3.3.0 merges objects
    of different images from the third image on); of equal IoU the lower index goes first; NaN is lower than every
    number.

    Examples
    --------
    Objects 0 and 1 with two boxes each: the best box of object 1 goes before the second best of object 0.

    >>> iou_hierarchical_local_rank([0.9, 0.8, 0.6, 0.7], [0, 0, 0, 0], [0, 0, 1, 1], num_classes=1)
    array([0, 2, 3, 1])
    """
    # CHECKS
    value = float_array("iou", iou)
    label = label_array("labels", labels, num_classes=count("num_classes", num_classes), shape=value.shape)
    gt = int_array("gt_index", gt_index, shape=value.shape)
    image = _image_index(image_index, value.shape)

    # QUANTITIES OF THE PAPER
    rank = np.full(value.shape, -1)
    for j in range(num_classes):
        of_class = label == j
        objects = list(zip(image[of_class].tolist(), gt[of_class].tolist(), strict=True))
        rank[of_class] = hierarchical_local_rank(value[of_class], objects)

    # RESULT
    return rank


def isr_p_weights(  # noqa: PLR0913 - the quantities of a sample, and the options of the paper by keyword
    iou: ArrayLike,
    classification_losses: ArrayLike,
    labels: ArrayLike,
    gt_index: ArrayLike,
    image_index: ArrayLike | None = None,
    label_weights: ArrayLike | None = None,
    *,
    num_classes: int,
    gamma: float = 2.0,
    beta: float = 0.0,
    denominator: str = "class",
) -> Float:
    r"""ISR-P: weight of every sample in the classification loss, from the IoU-HLR of the positives.

    With the rank $r_i$ of `iou_hierarchical_local_rank`, the $n_j$ positives of class $j$, the label weight $a_i$
    and the classification loss $L_i$:

    $$ u_i = \frac{D_j - r_i}{D_j}, \qquad w_i = a_i \, ((1 - \beta) u_i + \beta)^\gamma, \qquad
       w'_i = w_i \, \frac{\sum_k a_k L_k}{\sum_k w_k L_k} $$

    where $D_j = n_j$ ("class") or $D_j = \max_j n_j$ ("max"). The sums run over all positives of the mini-batch,
    so that $\sum w'_k L_k = \sum a_k L_k$. The weights are constants: $\partial L / \partial z_i =
    w'_i \, \partial L_i / \partial z_i$.

    Parameters
    ----------
    iou, labels, gt_index, image_index
        As in `iou_hierarchical_local_rank`, shape (..., N).
    classification_losses : float >= 0, shape of `iou` or (..., N, K)
        $L_i$ of the current scores, a constant. With K channels (sigmoid heads) their sum. Only those of
        positives are looked at.
    label_weights : float >= 0, shape of `iou`, or None
        $a_i$; None means 1. A positive of weight 0 has no rank and counts nowhere.
    num_classes : int >= 1
    gamma : float >= 0
        Degree of preference for prime samples (authors' code: 2). At 0 all weights stay as they are.
    beta : float in [0, 1]
        Weight of the last rank in proportion to the first one's (authors' code: 0).
    denominator : "class" or "max"
        With "max" (the authors' code) equal ranks of different classes weigh the same; with "class" (the review)
        every class uses the whole range of weights.

    Returns
    -------
    float64, shape of `iou`
        $w'_i$ for positives, $a_i$ for background, 0 for ignored samples.

    Raises
    ------
    SpecError
        A shape does not fit, a label, label weight, loss of a positive or parameter is out of range.

    Source
    ------
    Paper, on importance-based sample reweighting; Oksuz et al., equations 5-6; mmdet `isr_p`.
    Rulings: one ratio for all positives; it is 1 where $\sum_k w_k L_k = 0$; $a_i$ stands outside of the power, so
    that an ignored sample keeps weight 0 with $\beta > 0$ too.

    Examples
    --------
    Two positives of one object with equal losses: u = 1, 1/2 and w = 1, 1/4, times 2 / 1.25. Then a background and
    an ignored sample.

    >>> losses, labels, gt_index = [0.7, 0.7, 0.1, 0.1], [0, 0, 1, -1], [0, 0, -1, -1]
    >>> isr_p_weights([0.9, 0.6, 0.0, 0.0], losses, labels, gt_index, num_classes=1).round(12)
    array([1.6, 0.4, 1. , 0. ])
    """
    # CHECKS
    value = float_array("iou", iou)
    label = label_array("labels", labels, num_classes=count("num_classes", num_classes), shape=value.shape)
    a = np.ones(value.shape) if label_weights is None else _label_weights(label_weights, value.shape)
    counted = (label >= 0) & (label < num_classes) & (a > 0)
    loss = loss_of_samples(classification_losses, value.shape, counted)
    gamma = non_negative("gamma", gamma)
    beta = fraction("beta", beta)
    one_of("denominator", denominator, DENOMINATORS)

    # QUANTITIES OF THE PAPER
    ranked = np.where(counted, label, -1)
    r = iou_hierarchical_local_rank(value, ranked, gt_index, image_index, num_classes=num_classes)
    n_j = np.bincount(label[counted], minlength=num_classes)
    denominators = n_j if denominator == "class" else np.full(num_classes, n_j.max())
    d_j = denominators[label[counted]]
    u = (d_j - r[counted]) / d_j
    importance = ((1.0 - beta) * u + beta) ** gamma

    # RESULT
    weights = np.where(label == -1, 0.0, a)
    weights[counted] *= importance * conserving_ratio(importance, a[counted] * loss[counted])
    return weights


def hierarchical_local_rank(values: Float, groups: Sequence[Hashable]) -> Int:
    """Position of each element when ordered by its rank inside its group, then by its value.

    Parameters: `values` (n,), higher is better, NaN the lowest; `groups`, n names. Returns int64 (n,).

    Examples
    --------
    >>> hierarchical_local_rank(np.array([0.9, 0.8, 0.7]), ["a", "a", "b"])
    array([0, 2, 1])
    """
    value = np.where(np.isnan(values), -np.inf, values)
    indices = range(len(value))
    members: dict[Hashable, list[int]] = {}
    for i in indices:
        members.setdefault(groups[i], []).append(i)

    local_rank = {}
    for group in members.values():
        by_value = sorted(group, key=lambda i: (-value[i], i))
        local_rank.update({i: position for position, i in enumerate(by_value)})

    order = sorted(indices, key=lambda i: (local_rank[i], -value[i], i))
    return np.argsort(order)


def conserving_ratio(importance: Float, losses: Float) -> float:
    r"""$\sum_k L_k / \sum_k g_k L_k$: keeps the sum of the losses when each is weighed by its importance $g_k$.

    1 where the weighed sum is 0.

    Examples
    --------
    >>> conserving_ratio(np.array([1.0, 0.25]), np.array([2.0, 2.0]))
    1.6
    """
    if not losses.any():
        return 1.0
    shares = losses / losses.max()  # the unit of the loss does not matter, and sums cannot overflow
    weighed = (importance * shares).sum()
    return float(shares.sum() / weighed) if weighed > 0 else 1.0


def loss_of_samples(losses: ArrayLike, shape: tuple[int, ...], counted: Bool) -> Float:
    """Check of an argument: one loss a sample, or one a channel, which are summed; finite and >= 0 where counted."""
    array = float_array("classification_losses", losses)
    if array.shape[: len(shape)] != shape or array.ndim > len(shape) + 1:
        raise SpecError(f"classification_losses: expected shape {shape} or {(*shape, 'K')}, got {array.shape}")
    channels = array[..., None] if array.ndim == len(shape) else array
    channels = np.where(counted[..., None], channels, 0.0)  # whatever stands elsewhere, NaN even
    if not ((channels >= 0) & (channels < np.inf)).all():
        raise SpecError("classification_losses: expected finite numbers >= 0 for every sample that is weighed")
    return channels.sum(axis=-1)


def _label_weights(label_weights: ArrayLike, shape: tuple[int, ...]) -> Float:
    a = finite_array("label_weights", label_weights, shape=shape)
    if (a < 0).any():
        raise SpecError("label_weights: expected numbers >= 0")
    return a


def _image_index(image_index: ArrayLike | None, shape: tuple[int, ...]) -> Int:
    if image_index is not None:
        return int_array("image_index", image_index, shape=shape)
    if not shape:
        raise SpecError("iou: expected shape (..., N), got ()")
    rows = np.arange(math.prod(shape[:-1])).reshape(*shape[:-1], 1)
    return np.broadcast_to(rows, shape)
