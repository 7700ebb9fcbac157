r"""Limiting the search space by objectness: candidates that a first, cheap predictor calls background are left out.

Sources: Kong et al., "RON: Reverse Connection with Objectness Prior Networks", CVPR 2017 (arXiv 1707.01691), and the
authors' `det_target_layer.py`; Zhang et al., "Single-Shot Refinement Neural Network for Object Detection" (RefineDet),
CVPR 2018 (arXiv 1711.06897), section 3, "Negative Anchor Filtering", and the authors' `bbox_util.cpp`.

The imbalance shrinks before anything is drawn. RON leaves out positives too (objectness prior), RefineDet only
negatives (negative anchor filtering), of what remains RON draws at random, 1 : 3, and RefineDet takes the hardest, as
`hard_negative_mining` does with the labels that `objectness_filter` gives. The objectness is a constant here: it is
learnt by a loss of its own.

The Overlap Sampler (Chen et al., WACV 2020), which the review's list names beside these, is not specified: its abstract
says that it chooses by overlaps among the examples, but the rule is in neither the published code nor any text that we
could read.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Float,
    Int,
    SpecError,
    count,
    finite_array,
    fraction,
    fraction_array,
    key_array,
    label_array,
)
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys
from steelyard.reference.hard_sampling.random_sampling import Sample


def objectness_filter(
    labels: ArrayLike,
    objectness: ArrayLike,
    *,
    num_classes: int,
    threshold: float = 0.01,
    keep_positives: bool = True,
) -> Int:
    r"""Labels for training, with -1 in the place of those whose objectness $o$ is below a threshold.

    Parameters
    ----------
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore.
    objectness : float in [0, 1], shape of `labels`
        $o$, probability of the first predictor that a candidate holds any object.
    num_classes : int >= 1
        C.
    threshold : float in [0, 1]
        Kept is $o \ge$ threshold (RefineDet: 0.01, which it states as 0.99 for the background; RON: 0.03).
    keep_positives : bool
        Whether only negatives are left out (RefineDet), or positives too (RON).

    Returns
    -------
    int64, shape of `labels`

    Raises
    ------
    SpecError
        Shapes differ; a label, an objectness or the threshold is out of range.

    Source
    ------
    RefineDet, section 3; RON's `det_target_layer.py`. Rulings: both codes drop what is strictly below; what is left out
    is ignored, not background.

    Examples
    --------
    >>> labels, objectness = [0, 2, 2, 1], [0.9, 0.03, 0.02, 0.02]
    >>> objectness_filter(labels, objectness, num_classes=2, threshold=0.03)
    array([ 0,  2, -1,  1])
    >>> objectness_filter(labels, objectness, num_classes=2, threshold=0.03, keep_positives=False)
    array([ 0,  2, -1, -1])
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes)
    probability = fraction_array("objectness", objectness, shape=label.shape)
    threshold = fraction("threshold", threshold)

    # RESULT
    kept = probability >= threshold
    if keep_positives:
        kept |= label != num_classes
    return np.where(kept, label, -1)


def objectness_filter_scores(scores: ArrayLike, objectness: ArrayLike, *, threshold: float = 0.01) -> Float:
    r"""Class scores at test time: what is left out in training is background for certain.

    Parameters
    ----------
    scores : float, shape (..., C + 1)
        Probabilities of the classes, the background last.
    objectness : float in [0, 1], shape (...)
        As in `objectness_filter`.
    threshold : float in [0, 1]
        As in `objectness_filter`.

    Returns
    -------
    float64, shape of `scores`
        Where the objectness is below the threshold, 1 for the background and 0 for all others.

    Raises
    ------
    SpecError
        Shapes differ; a score is not finite; an objectness or the threshold is out of range.

    Source
    ------
    RefineDet, section 3, "Inference".

    Examples
    --------
    >>> objectness_filter_scores([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]], [0.5, 0.001])
    array([[0.7, 0.2, 0.1],
           [0. , 0. , 1. ]])
    """
    # CHECKS
    score = finite_array("scores", scores)
    if score.ndim == 0 or score.shape[-1] == 0:
        raise SpecError(f"scores: expected shape (..., C + 1), got {score.shape}")
    probability = fraction_array("objectness", objectness, shape=score.shape[:-1])
    threshold = fraction("threshold", threshold)

    # RESULT
    background = np.zeros(score.shape[-1])
    background[-1] = 1.0
    return np.where((probability >= threshold)[..., np.newaxis], score, background)


def objectness_prior_sampling(
    labels: ArrayLike,
    objectness: ArrayLike,
    keys: ArrayLike,
    *,
    num_classes: int,
    threshold: float = 0.03,
    positive_fraction: float = 0.25,
    negatives_without_positives: int = 256,
) -> Sample:
    r"""RON's sample: all positives that the objectness prior keeps, and random negatives in proportion to them.

    Of the $P$ positives and $M$ negatives with $o \ge$ threshold all positives are in the sample, and

    $$ n_{neg} = \min(M, \lceil P (1 - f) / f \rceil) \text{ if } P > 0, \text{ else } \min(M, \text{batch}). $$

    Parameters
    ----------
    labels : int, shape (..., N)
        0..C-1 foreground, C background, -1 ignore.
    objectness : float in [0, 1], shape of `labels`
        As in `objectness_filter`.
    keys : float in [0, 1), shape of `labels`
        One random number a candidate: the negatives with the smallest are drawn, of equal ones the first.
    num_classes : int >= 1
        C.
    threshold : float in [0, 1]
        RON: 0.03.
    positive_fraction : float in (0, 1]
        $f$, share of positives (RON: 0.25, three negatives a positive).
    negatives_without_positives : int >= 0
        batch, for an image of which no positive is left (256 in RON's network files).

    Returns
    -------
    Sample
        `positive` and `negative`: bool, shape of `labels`, disjoint.

    Raises
    ------
    SpecError
        Shapes differ; a key is not in [0, 1); a label, an objectness or an option is out of range.

    Source
    ------
    RON, section 3, and the authors' layers. Rulings: the number of negatives follows from the positives that are left,
    and they are drawn from the negatives that are left: to draw first and to filter then is another technique. Both are
    numbers of one image (in the authors' code of the mini-batch); a fraction of a negative counts as one, since the
    authors' code cuts the number of those that it switches off.

    Examples
    --------
    One of two positives is left, and four of five negatives; three are drawn.

    >>> labels, objectness = [0, 1, 2, 2, 2, 2, 2], [0.9, 0.02, 0.5, 0.5, 0.01, 0.5, 0.03]
    >>> keys = [0.0, 0.0, 0.9, 0.2, 0.0, 0.1, 0.5]
    >>> sample = objectness_prior_sampling(labels, objectness, keys, num_classes=2)
    >>> np.flatnonzero(sample.positive), np.flatnonzero(sample.negative)
    (array([0]), array([3, 5, 6]))
    """
    # CHECKS
    key = key_array("keys", keys)
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=key.shape)
    left = objectness_filter(label, objectness, num_classes=num_classes, threshold=threshold, keep_positives=False)
    positive_fraction = fraction("positive_fraction", positive_fraction)
    if positive_fraction == 0.0:
        raise SpecError("positive_fraction: expected a number in (0, 1], got 0.0")
    batch = count("negatives_without_positives", negatives_without_positives, low=0)

    # QUANTITIES OF THE PAPER
    positive = (left >= 0) & (left < num_classes)
    negative = np.empty(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        num_positive = positive[image].sum()
        share = num_positive * (1.0 - positive_fraction) / positive_fraction
        number = math.ceil(share) if num_positive else batch
        negative[image] = smallest_keys(key[image], left[image] == num_classes, number)

    # RESULT
    return Sample(positive, negative)
