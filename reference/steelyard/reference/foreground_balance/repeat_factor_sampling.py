r"""Repeat-factor sampling: images with rare classes come several times in an epoch.

Source: Gupta, Dollar, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019 (arXiv
1908.03195), appendix B.2; detectron2's ``RepeatFactorTrainingSampler``.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Float,
    Int,
    SpecError,
    count,
    float_array,
    int_array,
    key_array,
    non_negative,
    one_of,
)

ROUNDINGS = ("stochastic", "ceil")


def image_repeat_factors(
    labels: ArrayLike, *, num_classes: int, threshold: float = 0.001, square_root: bool = True
) -> Float:
    r"""How often each image of a data set is to come in an epoch, on average.

    With $f_c$ the share of the images that contain class $c$ and $t$ the threshold,

    $$ r_c = \max\big(1, \sqrt{t / f_c}\big), \qquad r_I = \max_{c \in I} r_c. $$

    Parameters
    ----------
    labels : int, shape (N, M)
        Classes 0..C-1 of the objects of each image; -1 fills up the row. A class counts once an image.
    num_classes : int >= 1
        C.
    threshold : float >= 0
        $t$: classes in a larger share of the images are not repeated. 0: none is.
    square_root : bool
        False: $r_c = \max(1, t / f_c)$.

    Returns
    -------
    float64 >= 1, shape (N,)
        $r_I$; 1 for an image without objects.

    Raises
    ------
    SpecError
        `labels` has not two axes or a label is out of range, the threshold is negative.

    Source
    ------
    LVIS, appendix B.2. Rulings: frequency counts images, not instances, and N counts images without objects too.

    Examples
    --------
    Class 1 is in one of four images: $\sqrt{0.5 / 0.25}$.

    >>> image_repeat_factors([[0, 0], [0, -1], [0, 1], [-1, -1]], num_classes=2, threshold=0.5).round(4)
    array([1.    , 1.    , 1.4142, 1.    ])
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    label = int_array("labels", labels, low=-1, high=num_classes - 1)
    if label.ndim != 2:
        raise SpecError(f"labels: expected shape (N, M), got {label.shape}")
    threshold = non_negative("threshold", threshold)

    # QUANTITIES OF THE PAPER
    contains = (label[:, :, np.newaxis] == np.arange(num_classes)).any(axis=1)
    images_of_class = contains.sum(axis=0)
    class_factor = np.empty(num_classes)  # of a class that does not occur: in no image
    for c in np.flatnonzero(images_of_class):
        ratio = threshold * len(label) / images_of_class[c]
        class_factor[c] = max(1.0, math.sqrt(ratio) if square_root else ratio)

    # RESULT
    return np.where(contains, class_factor, 1.0).max(axis=1)


def repeat_counts(repeat_factors: ArrayLike, keys: ArrayLike, *, rounding: str = "stochastic") -> Int:
    r"""How often each image comes in one epoch, by explicit random keys.

    $$ k_I = \lfloor r_I \rfloor + [u_I < r_I - \lfloor r_I \rfloor], $$

    so that $\mathrm{E}[k_I] = r_I$. Every epoch has new keys.

    Parameters
    ----------
    repeat_factors : float >= 1, shape (N,)
        $r_I$.
    keys : float in [0, 1), shape (N,)
        $u_I$.
    rounding : "stochastic" or "ceil"
        "ceil" rounds up once for all and needs no luck, and repeats too often: 1.29 becomes 2.

    Returns
    -------
    int64 >= 1, shape (N,)

    Raises
    ------
    SpecError
        Shapes differ, a factor is below 1 or not finite, a key is not in [0, 1), the name of the rounding is unknown.

    Source
    ------
    detectron2 (stochastic); mmengine's ``ClassBalancedDataset`` (ceil), which departs from LVIS.

    Examples
    --------
    >>> repeat_counts([1.0, 1.25, 1.25, 3.0], [0.0, 0.2, 0.25, 0.9])
    array([1, 2, 1, 3])
    """
    # CHECKS
    factor = float_array("repeat_factors", repeat_factors)
    if factor.ndim != 1:
        raise SpecError(f"repeat_factors: expected shape (N,), got {factor.shape}")
    if not (np.isfinite(factor) & (factor >= 1.0)).all():
        raise SpecError("repeat_factors: expected finite numbers >= 1, got one below, infinite or NaN")
    key = key_array("keys", keys, shape=factor.shape)
    one_of("rounding", rounding, ROUNDINGS)

    # RESULT
    whole = np.floor(factor)
    once_more = factor > whole if rounding == "ceil" else key < factor - whole
    return whole.astype(np.int64) + once_more


def repeated_images(counts: ArrayLike, keys: ArrayLike) -> Int:
    """The order of one epoch: each image as often as it comes, shuffled by explicit random keys.

    Parameters
    ----------
    counts : int >= 0, shape (N,)
        As `repeat_counts` gives them.
    keys : float in [0, 1), shape (sum of counts,)
        One for each place before shuffling, in which copies of an image are neighbours.

    Returns
    -------
    int64, shape (sum of counts,)
        Numbers of images, in the order of the keys; of equal keys the first.

    Raises
    ------
    SpecError
        A count is negative, there are not as many keys as places, a key is not in [0, 1).

    Source
    ------
    detectron2's ``RepeatFactorTrainingSampler``.

    Examples
    --------
    >>> repeated_images([1, 2, 1], [0.5, 0.9, 0.1, 0.3])
    array([1, 2, 0, 1])
    """
    # CHECKS
    number = int_array("counts", counts, low=0)
    if number.ndim != 1:
        raise SpecError(f"counts: expected shape (N,), got {number.shape}")
    key = key_array("keys", keys, shape=(int(number.sum()),))

    # RESULT
    return np.repeat(np.arange(len(number)), number)[np.argsort(key, kind="stable")]
