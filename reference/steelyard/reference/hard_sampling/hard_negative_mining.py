r"""Online hard-negative mining: of each image's background only the hardest enters, three for each positive.

Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (arXiv 1512.02325), section 2.2, "Hard negative
mining", and equations 1 to 3; the authors' Caffe code, `MineHardExamples`, where the paper is silent.

After matching most of the default boxes are background, and most of these are easy. SSD sorts the background boxes of
an image by their confidence loss and keeps the highest, so that there are at most three for each positive.
"""

import math

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
    label_array,
    non_negative,
)
from steelyard.reference.hard_sampling.random_sampling import Sample
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad


def hard_negative_mining(
    losses: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    negatives_per_positive: float = 3.0,
    min_negatives: int = 0,
) -> Sample:
    r"""All positives of each image, and its background candidates of the largest loss.

    With $P_b$ positives and $M_b$ background candidates in image $b$, and at most $r$ negatives for each positive:

    $$ k_b = \min(\max(\lfloor r P_b \rfloor, k_{min}), M_b) $$

    of the background candidates are negatives of the sample, those with the largest $\ell_i$.

    Parameters
    ----------
    losses : float, shape (..., N)
        $\ell$, by which the background is ranked: SSD takes $-\log p_{background}$. Those of positives and of ignored
        candidates are not looked at.
    labels : int, shape of `losses`
        0..C-1 foreground, C background, -1 ignore: neither positive nor negative.
    num_classes : int >= 1
        C.
    negatives_per_positive : float >= 0
        $r$ (paper: 3).
    min_negatives : int >= 0
        $k_{min}$, of each image, also of one without positives (paper: 0).

    Returns
    -------
    Sample
        `positive` and `negative`: bool, shape of `losses`, disjoint.

    Raises
    ------
    SpecError
        Shapes differ, the loss of a background candidate is NaN, a label or parameter is out of range.

    Source
    ------
    Section 2.2, "at most 3:1". Rulings: the ratio holds for each image; the product is cut to an integer; an image
    without positives has no negatives, unless `min_negatives` asks for some; where there are fewer than asked for, all
    are taken, and none twice; a positive never fills the place of a negative; of equal losses the first candidate's.

    Examples
    --------
    One positive (candidate 1), so three negatives of five; of the two losses of 0.5 the first.

    >>> losses = [0.5, 9.0, 0.1, 2.0, 0.5, 1.0]
    >>> sample = hard_negative_mining(losses, [1, 0, 1, 1, 1, 1], num_classes=1)
    >>> np.flatnonzero(sample.positive), np.flatnonzero(sample.negative)
    (array([1]), array([0, 3, 5]))
    """
    # CHECKS
    loss = float_array("losses", losses)
    if loss.ndim == 0:
        raise SpecError("losses: expected shape (..., N), got ()")
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=loss.shape)
    ratio = non_negative("negatives_per_positive", negatives_per_positive)
    min_negatives = count("min_negatives", min_negatives, low=0)
    positive = (label >= 0) & (label < num_classes)
    background = label == num_classes
    if np.isnan(loss[background]).any():
        raise SpecError("losses: expected numbers at background candidates, got NaN")

    # QUANTITIES OF THE PAPER
    negative = np.empty(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        wanted = max(math.floor(ratio * positive[image].sum()), min_negatives)
        negative[image] = _largest(loss[image], background[image], wanted)

    # RESULT
    return Sample(positive, negative)


def ssd_confidence_loss(
    logits: ArrayLike, labels: ArrayLike, *, negatives_per_positive: float = 3.0, min_negatives: int = 0
) -> np.float64:
    r"""SSD's confidence loss of a mini-batch: cross entropy of the positives and of the mined negatives.

    $$ L_{conf} = \frac{1}{N_{pos}} \sum_b \Big( \sum_{i \in Pos_b} \ell_i + \sum_{i \in Neg_b} \ell_i \Big), \qquad
       \ell_i = -\log \mathrm{softmax}(z_i)_{y_i} $$

    with $Neg_b$ from `hard_negative_mining` by these $\ell$, and $N_{pos} = \max(1, \sum_b |Pos_b|)$.

    Parameters
    ----------
    logits : float, shape (..., N, C + 1)
        $z$, finite; the last channel is the background.
    labels : int, shape (..., N)
        $y$: 0..C-1 foreground, C background, -1 ignore.
    negatives_per_positive, min_negatives
        As in `hard_negative_mining`.

    Returns
    -------
    float64, shape ()
        0 for a mini-batch without positives, unless `min_negatives` asks for negatives.

    Raises
    ------
    SpecError
        A shape does not fit, a logit is not finite, a label or parameter is out of range.

    Source
    ------
    Section 2.2, equations 1 and 3. Rulings: those of `hard_negative_mining`; the sum is divided by the positives of the
    mini-batch, not by positives and negatives, and without positives by 1.

    Examples
    --------
    Two positives, and only two negatives for the six that may be taken: $4 \ln 4 / 2$.

    >>> ssd_confidence_loss(np.zeros((4, 4)), [0, 1, 3, 3]).round(6)
    np.float64(2.772589)
    """
    # CHECKS, QUANTITIES OF THE PAPER
    _, _, cross_entropy, selected, num_positive = _mined(logits, labels, negatives_per_positive, min_negatives)

    # RESULT
    return np.float64(cross_entropy[selected].sum() / num_positive)


def ssd_confidence_loss_grad(
    logits: ArrayLike, labels: ArrayLike, *, negatives_per_positive: float = 3.0, min_negatives: int = 0
) -> Float:
    r"""Derivative of `ssd_confidence_loss` with respect to its logits, the choice of negatives held fixed.

    $$ \frac{\partial L}{\partial z_{ic}} = \frac{\mathrm{softmax}(z_i)_c - [c = y_i]}{N_{pos}}
       \text{ for } i \in Pos \cup Neg, \text{ else } 0 $$

    Parameters, errors: as `ssd_confidence_loss`. Returns float64, shape of `logits`.

    Source
    ------
    Equation 3; the choice is not differentiated, in the authors' code or in any other.

    Examples
    --------
    The negative that is not hard enough gets no gradient.

    >>> logits = [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]
    >>> ssd_confidence_loss_grad(logits, [0, 1, 1], negatives_per_positive=1.0).round(6)
    array([[-0.5     ,  0.5     ],
           [ 0.731059, -0.731059],
           [ 0.      ,  0.      ]])
    """
    # CHECKS, QUANTITIES OF THE PAPER
    z, label, _, selected, num_positive = _mined(logits, labels, negatives_per_positive, min_negatives)
    by_logit = softmax_focal_loss_grad(z, label, alpha=None, gamma=0.0)

    # RESULT
    return np.where(selected[..., None], by_logit, 0.0) / num_positive


def _mined(
    logits: ArrayLike, labels: ArrayLike, negatives_per_positive: float, min_negatives: int
) -> tuple[Float, Int, Float, Bool, int]:
    """Logits, labels, cross entropies, who enters the loss, and what it is divided by."""
    z = finite_array("logits", logits)
    if z.ndim < 2 or z.shape[-1] < 2:
        raise SpecError(f"logits: expected shape (..., N, C + 1) with C >= 1, got {z.shape}")
    background = z.shape[-1] - 1
    label = label_array("labels", labels, num_classes=background, shape=z.shape[:-1])
    cross_entropy = softmax_focal_loss(z, label, alpha=None, gamma=0.0)
    positive, negative = hard_negative_mining(
        cross_entropy,
        label,
        num_classes=background,
        negatives_per_positive=negatives_per_positive,
        min_negatives=min_negatives,
    )
    return z, label, cross_entropy, positive | negative, max(1, positive.sum())


def _largest(losses: Float, group: Bool, number: int) -> Bool:
    """The members of a group with the largest losses; of equal ones the first."""
    members = np.flatnonzero(group)
    order: Int = np.argsort(-losses[members], kind="stable")
    chosen = np.zeros(group.shape, dtype=np.bool_)
    chosen[members[order[:number]]] = True
    return chosen
