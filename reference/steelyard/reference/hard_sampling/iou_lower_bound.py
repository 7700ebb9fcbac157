r"""IoU lower bound (Fast R-CNN): background from a range of IoU that ends above 0.

Source: Girshick, "Fast R-CNN", ICCV 2015 (arXiv 1504.08083), section 2.3, "Mini-batch sampling"; the authors' code
(`_sample_rois`) where the paper is silent.

A proposal that overlaps an object a little is a harder negative than one far away from all. With a lower bound of 0.1
the far ones are never drawn: a cheap heuristic for hard examples. Faster R-CNN and OHEM set the bound to 0.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Int, count, fraction, fraction_array, int_array, key_array, one_of
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys
from steelyard.reference.hard_sampling.random_sampling import Sample

ROUNDINGS = ("down", "half_even")


def iou_range_labels(
    max_iou: ArrayLike,
    classes: ArrayLike,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_low: float = 0.1,
    background_high: float = 0.5,
) -> Int:
    r"""Label candidates by their largest IoU $o$: foreground, background within a range, or ignored.

    $$ y = \begin{cases} c & o \ge t_{fg} \\ C & \text{else, if } lo \le o < hi \\ -1 & \text{else} \end{cases} $$

    Parameters
    ----------
    max_iou : float in [0, 1], shape (...)
        $o$, the largest IoU with an object of any class; 0 where the image has none.
    classes : int, shape of `max_iou`
        $c$, 0..C-1, class of the object of that IoU (any where the image has none); -1 for what is to be ignored
        whatever its IoU: padding, crowds.
    num_classes : int >= 1
        C, the label of the background.
    foreground_iou : float in [0, 1]
        $t_{fg}$ (paper: 0.5).
    background_low, background_high : float in [0, 1]
        $lo$ and $hi$ (paper: 0.1 and 0.5).

    Returns
    -------
    int64, shape of `max_iou`
        Labels: 0..C-1 foreground, C background, -1 ignored.

    Raises
    ------
    SpecError
        Shapes differ; an IoU, a class or a threshold is out of range.

    Source
    ------
    Section 2.3. Rulings: an IoU of exactly $lo$ is background, one of exactly $hi$ is not; what the two ranges leave
    out is ignored, not background; the bound holds in an image without objects too, where it leaves nothing (mmdet and
    detectron2 make all of it background there); the label of background is C, not the class of the nearest object.

    Examples
    --------
    >>> iou_range_labels([0.0, 0.1, 0.3, 0.5, 0.9], [4, 4, 4, 4, 7], num_classes=20)
    array([-1, 20, 20,  4,  7])
    """
    # CHECKS
    iou = fraction_array("max_iou", max_iou)
    num_classes = count("num_classes", num_classes)
    nearest = int_array("classes", classes, low=-1, high=num_classes - 1, shape=iou.shape)
    foreground_iou = fraction("foreground_iou", foreground_iou)
    background_low = fraction("background_low", background_low)
    background_high = fraction("background_high", background_high)

    # QUANTITIES OF THE PAPER
    in_range = (iou >= background_low) & (iou < background_high)
    label = np.where(iou >= foreground_iou, nearest, np.where(in_range, num_classes, -1))

    # RESULT
    return np.where(nearest == -1, -1, label)


def iou_lower_bound_sampling(  # noqa: PLR0913 - the ranges and the quota, by keyword
    max_iou: ArrayLike,
    classes: ArrayLike,
    keys: ArrayLike,
    *,
    num_classes: int,
    foreground_iou: float = 0.5,
    background_low: float = 0.1,
    background_high: float = 0.5,
    num_samples: int = 64,
    positive_fraction: float = 0.25,
    rounding: str = "down",
    fill_from_below: bool = False,
) -> Sample:
    r"""Draw a sample of each image's candidates, its background from the range only.

    `iou_range_labels`, then as in `random_sampling`, of $P$ positives and $M$ candidates in the range,

    $$ n_{pos} = \min(P, \mathrm{round}(num \cdot f)), \qquad n_{neg} = \min(M, num - n_{pos}). $$

    Parameters
    ----------
    max_iou, classes, num_classes, foreground_iou, background_low, background_high
        As in `iou_range_labels`; shape (..., N).
    keys : float in [0, 1), shape of `max_iou`
        One random number a candidate: the smallest are drawn, of equal ones the first.
    num_samples : int >= 1
        Size of the sample of one image (paper: 64).
    positive_fraction : float in [0, 1]
        Largest share of positives (paper: 0.25).
    rounding : "down" or "half_even"
        How the quota of positives becomes an integer; the authors' code rounds half to even.
    fill_from_below : bool
        Whether candidates with an IoU below `background_low` take the place of those missing in the range.

    Returns
    -------
    Sample
        `positive` and `negative`: bool, shape of `max_iou`, disjoint.

    Raises
    ------
    SpecError
        As `iou_range_labels`; a key is not in [0, 1), an option is out of range.

    Source
    ------
    Section 2.3. Rulings: a range with too few candidates makes the sample smaller (authors' code);
    ``background_low=0`` is random sampling.

    Examples
    --------
    The nearest to an object and the far one are left out; the quota of one positive is 4 times 0.25.

    >>> iou, keys = [0.0, 0.2, 0.3, 0.6, 0.9], [0.0, 0.2, 0.3, 0.8, 0.4]
    >>> sample = iou_lower_bound_sampling(iou, [0] * 5, keys, num_classes=1, num_samples=4)
    >>> np.flatnonzero(sample.positive), np.flatnonzero(sample.negative)
    (array([4]), array([1, 2]))
    """
    # CHECKS
    key = key_array("keys", keys)
    iou = fraction_array("max_iou", max_iou, shape=key.shape)
    label = iou_range_labels(
        iou, classes, num_classes=num_classes, foreground_iou=foreground_iou,
        background_low=background_low, background_high=background_high,
    )  # fmt: skip
    num_samples = count("num_samples", num_samples)
    positive_fraction = fraction("positive_fraction", positive_fraction)
    rounding = one_of("rounding", rounding, ROUNDINGS)

    # QUANTITIES OF THE PAPER
    share = num_samples * positive_fraction
    quota = int(share) if rounding == "down" else round(share)
    positive = np.empty(label.shape, dtype=np.bool_)
    negative = np.empty(label.shape, dtype=np.bool_)
    limit = min(background_low, background_high, foreground_iou)
    below = (iou < limit) & (np.asarray(classes) != -1) if fill_from_below else np.zeros(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        foreground = (label[image] >= 0) & (label[image] < num_classes)
        background = label[image] == num_classes
        positive[image] = smallest_keys(key[image], foreground, quota)
        left = num_samples - positive[image].sum()
        negative[image] = smallest_keys(key[image], background, left)
        left -= negative[image].sum()
        negative[image] |= smallest_keys(key[image], below[image], left)

    # RESULT
    return Sample(positive, negative)
