r"""Random sampling: a fixed number of candidates of an image enters the loss, with a quota for the positives.

Source: Girshick et al., "Rich feature hierarchies" (R-CNN), CVPR 2014 (arXiv 1311.2524), section 2.3; Girshick, "Fast
R-CNN", ICCV 2015 (arXiv 1504.08083), section 2.3; Ren et al., "Faster R-CNN", NeurIPS 2015 (arXiv 1506.01497), section
3.1.3.

An image has thousands of background candidates for every positive one. Drawing a fixed number, of which at most a given
share may be positive, sets the ratio by decree; what the positives leave free, negatives fill. Inside the positives and
inside the negatives every subset of the drawn size is equally likely.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, SpecError, count, fraction, key_array, label_array, non_negative
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys


class Sample(NamedTuple):
    """Which candidates enter the loss."""

    positive: Bool
    negative: Bool


def random_sampling(
    labels: ArrayLike,
    keys: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 256,
    positive_fraction: float = 0.5,
    negatives_per_positive: float | None = None,
) -> Sample:
    r"""Draw a sample of each image's candidates, by explicit random keys.

    With $P$ positives and $M$ negatives among the candidates of an image,

    $$ n_{pos} = \min(P, \lfloor num \cdot f \rfloor), \qquad n_{neg} = \min(M, num - n_{pos}), $$

    and with an upper bound $u$ of negatives a positive also $n_{neg} \le \lfloor u \max(1, n_{pos}) \rfloor$. The
    positives with the $n_{pos}$ smallest keys are drawn, and the negatives with the $n_{neg}$ smallest; of equal keys
    the first candidate's. With independent uniform keys every subset of these sizes has the same probability.

    Parameters
    ----------
    labels : int, shape (..., N)
        0..C-1 foreground, C background, -1 ignore: neither positive nor negative.
    keys : float in [0, 1), shape of `labels`
        One random number a candidate.
    num_classes : int >= 1
        C.
    num_samples : int >= 1
        Size of the sample of one image (RPN: 256; RoI heads: 512, Fast R-CNN: 64).
    positive_fraction : float in [0, 1]
        Largest share of positives (RPN: 0.5; RoI heads: 0.25).
    negatives_per_positive : float >= 0 or None
        Upper bound $u$ of the negatives for each positive; None: no bound.

    Returns
    -------
    Sample
        `positive` and `negative`: bool, shape of `labels`, disjoint.

    Raises
    ------
    SpecError
        Shapes differ, a key is not in [0, 1), a label or parameter is out of range.

    Source
    ------
    Fast R-CNN, section 2.3; Faster R-CNN, section 3.1.3. Rulings: the quota is ``int(num_samples * positive_fraction)``
    in float64, as detectron2, torchvision and mmdet compute it (so 100 times 0.29 gives 28); missing positives are
    replaced by negatives, missing negatives by nothing; the quota holds for each image.

    Examples
    --------
    Two positives (the smallest keys of three) and two negatives (of two); candidate 4 is ignored.

    >>> keys = [0.9, 0.2, 0.5, 0.1, 0.0, 0.7, 0.3]
    >>> sample = random_sampling([0, 1, 2, 2, -1, 2, 0], keys, num_classes=2, num_samples=4)
    >>> np.flatnonzero(sample.positive), np.flatnonzero(sample.negative)
    (array([1, 6]), array([2, 3]))
    """
    # CHECKS
    key = key_array("keys", keys)
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=key.shape)
    num_samples = count("num_samples", num_samples)
    positive_fraction = fraction("positive_fraction", positive_fraction)
    bound = None if negatives_per_positive is None else non_negative("negatives_per_positive", negatives_per_positive)

    # QUANTITIES OF THE PAPER
    positive = np.empty(label.shape, dtype=np.bool_)
    negative = np.empty(label.shape, dtype=np.bool_)
    quota = int(num_samples * positive_fraction)
    for image in np.ndindex(label.shape[:-1]):
        foreground = (label[image] >= 0) & (label[image] < num_classes)
        background = label[image] == num_classes
        num_positive = min(foreground.sum(), quota)
        num_negative = num_samples - num_positive
        if bound is not None:
            num_negative = min(num_negative, math.floor(bound * max(1, num_positive)))
        positive[image] = smallest_keys(key[image], foreground, num_positive)
        negative[image] = smallest_keys(key[image], background, num_negative)

    # RESULT
    return Sample(positive, negative)


def inclusion_probabilities(
    labels: ArrayLike,
    *,
    num_classes: int,
    num_samples: int = 256,
    positive_fraction: float = 0.5,
    negatives_per_positive: float | None = None,
) -> tuple[Float, Float]:
    r"""Exact probability of each candidate, and of each pair, to be in the sample of one image.

    $\pi^+ = n_{pos} / P$ and $\pi^- = n_{neg} / M$; a pair of positives $\frac{n_{pos}(n_{pos} - 1)}{P(P - 1)}$, of
    negatives likewise; a positive and a negative are independent.

    Parameters
    ----------
    labels : int, shape (N,)
        As in `random_sampling`, of one image.
    num_classes, num_samples, positive_fraction, negatives_per_positive
        As in `random_sampling`.

    Returns
    -------
    float64, shape (N,), and float64, shape (N, N)
        Of candidates, and of pairs; on the diagonal the candidates' own.

    Raises
    ------
    SpecError
        As `random_sampling`.

    Source
    ------
    Sampling without replacement.

    Examples
    --------
    Two of three positives, and both negatives:

    >>> single, pair = inclusion_probabilities([0, 0, 1, 2, 2], num_classes=2, num_samples=4)
    >>> single.round(3), pair[0].round(3)
    (array([0.667, 0.667, 0.667, 1.   , 1.   ]), array([0.667, 0.333, 0.333, 0.667, 0.667]))
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes)
    if label.ndim != 1:
        raise SpecError(f"labels: expected shape (N,), got {label.shape}")

    # QUANTITIES OF THE PAPER
    spread = np.linspace(0.0, 1.0, label.size, endpoint=False)
    sample = random_sampling(
        label, spread, num_classes=num_classes, num_samples=num_samples,
        positive_fraction=positive_fraction, negatives_per_positive=negatives_per_positive,
    )  # fmt: skip
    foreground = (label >= 0) & (label < num_classes)
    background = label == num_classes
    single = np.zeros(label.size)
    same = np.zeros((label.size, label.size))
    for group, drawn in ((foreground, sample.positive), (background, sample.negative)):
        size, number = int(group.sum()), int(drawn.sum())
        if size:
            single[group] = number / size
        if size > 1:
            same[np.ix_(group, group)] = number * (number - 1) / (size * (size - 1))

    # RESULT
    together = np.where(_same_group(foreground, background), same, np.outer(single, single))
    np.fill_diagonal(together, single)
    return single, together


def _same_group(foreground: Bool, background: Bool) -> Bool:
    return np.logical_or(np.logical_and.outer(foreground, foreground), np.logical_and.outer(background, background))
