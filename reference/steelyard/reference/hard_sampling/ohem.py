r"""Online hard example mining (OHEM): of all RoIs of an image those of the largest loss are learnt from.

Sources: Shrivastava, Gupta & Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", CVPR
2016 (arXiv 1604.03540), section 4; the authors' code (`get_ohem_minibatch`) where the paper is silent. The stratified
variant is the `OHEMSampler` of mmdet: it keeps the quota of positives that the paper does away with.

Nothing is sampled before: every RoI is scored, background down to IoU 0. RoIs of nearly the same place have nearly the
same loss and would count one error many times, so non-maximum suppression, by loss, thins them out first.
"""

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
    label_array,
)
from steelyard.reference.detection.non_maximum_suppression import by_score, greedy_non_maximum_suppression
from steelyard.reference.hard_sampling.random_sampling import Sample, random_sampling


def online_hard_example_mining(
    boxes: ArrayLike,
    labels: ArrayLike,
    classification_losses: ArrayLike,
    regression_losses: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
) -> Bool:
    r"""The RoIs of each image that are learnt from: the hardest of those that non-maximum suppression leaves.

    1. $\ell_i = \ell^{cls}_i + [y_i \text{ is foreground}] \, \ell^{reg}_i$.
    2. Non-maximum suppression with $\ell$ as the score.
    3. The `num_samples` survivors with the largest $\ell$.

    Parameters
    ----------
    boxes : float, shape (..., R, 4)
        The RoIs.
    labels : int, shape (..., R)
        0..C-1 foreground, C background, -1 ignore: takes no part.
    classification_losses, regression_losses : float, shape (..., R)
        Of the current network. Regression losses of the background are not looked at. Infinity is allowed.
    num_classes : int >= 1
        C.
    num_samples : int >= 1
        $B / N$, RoIs of an image (paper: 128 for two images).
    iou_threshold : float in [0, 1] or None
        A RoI is suppressed by a harder one with an IoU above this (paper: 0.7). None: no suppression.
    labels_apart : bool
        Whether only RoIs of the same label, background being one, suppress each other (authors' code), or all of an
        image (paper).

    Returns
    -------
    bool, shape (..., R)

    Raises
    ------
    SpecError
        A shape does not fit, a coordinate is not finite, a loss that counts is NaN, a label or parameter is out of
        range.

    Source
    ------
    Section 4.1. Rulings: both losses count (mmdet: classification only); the sample is that of each image; there is no
    quota of positives; suppression needs an IoU strictly above the threshold; of equal losses the first RoI; with fewer
    survivors than asked for, all.

    Examples
    --------
    The second RoI has IoU 0.9 with the first and a smaller loss. Of another label, it would stay.

    >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]
    >>> options = {"num_classes": 2, "num_samples": 2}
    >>> online_hard_example_mining(boxes, [0, 0, 2], [2.0, 1.5, 1.0], [0.5, 0.5, 0.0], **options)
    array([ True, False,  True])
    >>> online_hard_example_mining(boxes, [0, 1, 2], [2.0, 1.5, 1.0], [0.5, 0.5, 0.0], **options)
    array([ True,  True, False])
    """
    # CHECKS
    box, label, loss = _rois(boxes, labels, classification_losses, regression_losses, num_classes)
    num_samples = count("num_samples", num_samples)

    # RESULT
    selected = np.zeros(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        order = [i for i in by_score(loss[image]) if label[image][i] != -1]
        if iou_threshold is not None:
            groups = label[image][order] if labels_apart else None
            order = _unsuppressed(order, box[image][order], groups, fraction("iou_threshold", iou_threshold))
        selected[image][order[:num_samples]] = True
    return selected


def online_hard_example_loss(
    boxes: ArrayLike,
    labels: ArrayLike,
    classification_losses: ArrayLike,
    regression_losses: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
) -> np.float64:
    r"""Mean loss of the RoIs that `online_hard_example_mining` selects from the images of a mini-batch.

    $$ L = \frac{1}{n} \sum_{i \in S} \ell_i, \qquad n = \max(1, |S|) $$

    Parameters, errors: as `online_hard_example_mining`.

    Returns
    -------
    float64, shape ()
        0 where nothing is selected.

    Source
    ------
    Section 4.1 and figure 2: only the selected RoIs go through the network that is trained. Rulings: the divisor is the
    true number of selected RoIs, also where it is below the one asked for; the losses choose and are learnt from at the
    same time, as where one forward pass serves both.

    Examples
    --------
    RoIs 0 and 2 are selected: (2.5 + 1) / 2.

    >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]
    >>> losses = [2.0, 1.5, 1.0], [0.5, 0.5, 0.0]
    >>> online_hard_example_loss(boxes, [0, 0, 2], *losses, num_classes=2, num_samples=2)
    np.float64(1.75)
    """
    # CHECKS, QUANTITIES OF THE PAPER
    _, _, loss = _rois(boxes, labels, classification_losses, regression_losses, num_classes)
    selected = online_hard_example_mining(
        boxes, labels, classification_losses, regression_losses, num_classes=num_classes, num_samples=num_samples,
        iou_threshold=iou_threshold, labels_apart=labels_apart,
    )  # fmt: skip

    # RESULT
    return np.float64(loss[selected].sum() / max(1, selected.sum()))


def online_hard_example_loss_grad_classification_losses(
    boxes: ArrayLike,
    labels: ArrayLike,
    classification_losses: ArrayLike,
    regression_losses: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
) -> Float:
    r"""Derivative of `online_hard_example_loss` by the classification losses: $1/n$ in $S$, else 0.

    Parameters, errors: as `online_hard_example_mining`. Returns float64, shape (..., R).

    Source
    ------
    Section 4.1; the choice is not differentiated.

    Examples
    --------
    >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]
    >>> losses = [2.0, 1.5, 1.0], [0.5, 0.5, 0.0]
    >>> online_hard_example_loss_grad_classification_losses(
    ...     boxes, [0, 0, 2], *losses, num_classes=2, num_samples=2)
    array([0.5, 0. , 0.5])
    """
    # CHECKS, QUANTITIES OF THE PAPER
    selected = online_hard_example_mining(
        boxes, labels, classification_losses, regression_losses, num_classes=num_classes, num_samples=num_samples,
        iou_threshold=iou_threshold, labels_apart=labels_apart,
    )  # fmt: skip

    # RESULT
    return selected / max(1, selected.sum())


def online_hard_example_loss_grad_regression_losses(
    boxes: ArrayLike,
    labels: ArrayLike,
    classification_losses: ArrayLike,
    regression_losses: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 64,
    iou_threshold: float | None = 0.7,
    labels_apart: bool = True,
) -> Float:
    r"""Derivative of `online_hard_example_loss` by the regression losses: $1/n$ at selected foreground, else 0.

    Parameters, errors: as `online_hard_example_mining`. Returns float64, shape (..., R).

    Source
    ------
    Section 4.1; the choice is not differentiated.

    Examples
    --------
    >>> boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]]
    >>> losses = [2.0, 1.5, 1.0], [0.5, 0.5, 0.0]
    >>> online_hard_example_loss_grad_regression_losses(
    ...     boxes, [0, 0, 2], *losses, num_classes=2, num_samples=2)
    array([0.5, 0. , 0. ])
    """
    # CHECKS, QUANTITIES OF THE PAPER
    by_loss = online_hard_example_loss_grad_classification_losses(
        boxes, labels, classification_losses, regression_losses, num_classes=num_classes, num_samples=num_samples,
        iou_threshold=iou_threshold, labels_apart=labels_apart,
    )  # fmt: skip

    # RESULT
    return np.where(np.asarray(labels) < num_classes, by_loss, 0.0)


def stratified_hard_example_mining(
    losses: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 512,
    positive_fraction: float = 0.25,
    negatives_per_positive: float | None = None,
) -> Sample:
    """The hardest positives and the hardest negatives of each image, in the numbers of `random_sampling`.

    Not the paper's algorithm, which knows no quota: what mmdet offers under its name.

    Parameters
    ----------
    losses : float, shape (..., N)
        By which candidates are ranked; those of ignored candidates are not looked at.
    labels : int, shape of `losses`
        0..C-1 foreground, C background, -1 ignore.
    num_classes, num_samples, positive_fraction, negatives_per_positive
        As in `random_sampling`.

    Returns
    -------
    Sample
        `positive` and `negative`: bool, shape of `losses`, disjoint.

    Raises
    ------
    SpecError
        Shapes differ, a loss that counts is NaN, a label or parameter is out of range.

    Source
    ------
    mmdet 3.3, `OHEMSampler`. Rulings: of equal losses the first candidate's; the numbers as in `random_sampling`.

    Examples
    --------
    Four samples, half of them positive: the two hardest of each.

    >>> losses = [2.0, 2.5, 0.4, 1.2, 1.1, 0.05, 1.9]
    >>> sample = stratified_hard_example_mining(
    ...     losses, [0, 0, 0, 1, 1, 1, 1], num_classes=1, num_samples=4, positive_fraction=0.5)
    >>> np.flatnonzero(sample.positive), np.flatnonzero(sample.negative)
    (array([0, 1]), array([3, 6]))
    """
    # CHECKS
    loss = float_array("losses", losses)
    if loss.ndim == 0:
        raise SpecError("losses: expected shape (..., N), got ()")
    label = label_array("labels", labels, num_classes=count("num_classes", num_classes), shape=loss.shape)
    if np.isnan(loss[label != -1]).any():
        raise SpecError("losses: expected numbers where the label is not -1, got NaN")

    # QUANTITIES OF THE PAPER
    place = np.argsort(np.argsort(-loss, axis=-1, kind="stable"), axis=-1)

    # RESULT
    return random_sampling(
        label, place / label.shape[-1], num_classes=num_classes, num_samples=num_samples,
        positive_fraction=positive_fraction, negatives_per_positive=negatives_per_positive,
    )  # fmt: skip


def _rois(
    boxes: ArrayLike,
    labels: ArrayLike,
    classification_losses: ArrayLike,
    regression_losses: ArrayLike,
    num_classes: int,
) -> tuple[Float, Int, Float]:
    """Boxes, labels, and the losses by which RoIs are ranked."""
    box = finite_array("boxes", boxes)
    if box.ndim < 2 or box.shape[-1] != 4:
        raise SpecError(f"boxes: expected shape (..., R, 4), got {box.shape}")
    shape = box.shape[:-1]
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=shape)
    classification = float_array("classification_losses", classification_losses, shape=shape)
    regression = float_array("regression_losses", regression_losses, shape=shape)
    loss = np.where(label < num_classes, classification + regression, classification)
    if np.isnan(loss[label != -1]).any():
        raise SpecError("losses: expected numbers where the label is not -1, got NaN")
    return box, label, loss


def _unsuppressed(order: list[int], boxes: Float, groups: Int | None, iou_threshold: float) -> list[int]:
    """Whom greedy non-maximum suppression in this order keeps; boxes and groups are in it, too."""
    scores = -np.arange(len(order))
    kept = greedy_non_maximum_suppression(boxes, scores, iou_threshold=iou_threshold, groups=groups)
    return [i for i, keeps in zip(order, kept, strict=True) if keeps]
