r"""Finer counts of a census: by object, by weight, and over mini-batches.

Source: Oksuz, Cam, Kalkan, Akbas, "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv
1909.00169), section 4.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, count, finite_array, int_array, label_array


def foreground_by_object(matched_gt: ArrayLike, labels: ArrayLike, *, num_objects: int, num_classes: int) -> Int:
    """How many foreground candidates each object has; 0 for one that the detector never learns from.

    Parameters
    ----------
    matched_gt : int in [0, num_objects), shape (N,)
        Object of each candidate; not looked at where the candidate is not foreground.
    labels : int, shape (N,)
        0..C-1 foreground, C background, -1 ignored.
    num_objects : int >= 0
    num_classes : int >= 1
        C.

    Returns
    -------
    int64, shape (num_objects,)

    Raises
    ------
    SpecError
        A shape does not fit, a label, or the object of a foreground candidate, is out of range.

    Source
    ------
    Review, section 4.2 (foreground imbalance).

    Examples
    --------
    >>> foreground_by_object([0, 0, 1, 0], [3, 3, 80, -1], num_objects=2, num_classes=80)
    array([2, 0])
    """
    # CHECKS
    label = label_array("labels", labels, num_classes=count("num_classes", num_classes))
    objects = int_array("matched_gt", matched_gt, shape=label.shape)
    num_objects = count("num_objects", num_objects, low=0)
    of_foreground = objects[(label >= 0) & (label < num_classes)]
    int_array("matched_gt", of_foreground, low=0, high=num_objects - 1)

    # RESULT
    return np.bincount(of_foreground, minlength=num_objects)


def weights_by_class(weights: ArrayLike, labels: ArrayLike, *, num_classes: int) -> Float:
    r"""Sum of the weights, losses or gradient norms of each class: the census under soft sampling.

    Parameters
    ----------
    weights : float, shape (N,)
        $w_i$ of a candidate; with the loss $\ell_i$ or $\lVert \partial \ell_i / \partial z_i \rVert_1$ in its place
        the result tells which class carries the loss or the gradient.
    labels : int, shape (N,)
        0..C-1 foreground, C background, -1 ignored.
    num_classes : int >= 1
        C.

    Returns
    -------
    float64, shape (num_classes + 1,)
        $\sum w_i$ of each class, the background last. Weights of ignored candidates are left out.

    Raises
    ------
    SpecError
        A shape does not fit, a weight is not finite, a label is out of range.

    Source
    ------
    Review, section 4.1.2 (soft sampling gives each candidate a weight).

    Examples
    --------
    >>> weights_by_class([1.0, 0.5, 0.1, 9.0], [0, 0, 2, -1], num_classes=2)
    array([1.5, 0. , 0.1])
    """
    # CHECKS
    label = label_array("labels", labels, num_classes=count("num_classes", num_classes))
    weight = finite_array("weights", weights, shape=label.shape)

    # RESULT
    return np.array([weight[label == c].sum() for c in range(num_classes + 1)])


def minibatch_moments(class_counts: ArrayLike) -> tuple[Float, Float]:
    r"""Mean and variance, over mini-batches, of the number of candidates of each class.

    Parameters
    ----------
    class_counts : int >= 0, shape (T, C)
        $n_{tc}$: `by_class` of each of T mini-batches.

    Returns
    -------
    mean, variance : float64, shape (C,)
        $\frac1T \sum_t n_{tc}$ and $\frac1T \sum_t (n_{tc} - \bar n_c)^2$.

    Raises
    ------
    SpecError
        The shape is another, there is no mini-batch, a count is negative.

    Source
    ------
    Review, section 4.2 (imbalance within mini-batches); Oksuz et al., WACV 2020 (arXiv 1909.09777). Ruling: the
    variance describes these mini-batches, it is divided by T.

    Examples
    --------
    >>> minibatch_moments([[4, 0], [0, 0]])
    (array([2., 0.]), array([4., 0.]))
    """
    # CHECKS
    counts = int_array("class_counts", class_counts, low=0)
    if counts.ndim != 2 or len(counts) == 0:
        raise SpecError(f"class_counts: expected shape (T, C) with T >= 1, got {counts.shape}")

    # RESULT
    return counts.mean(axis=0), counts.var(axis=0)
