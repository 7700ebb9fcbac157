r"""Exhaustive search for the window of pooled features whose loss hurts most: the labels of A-Fast-RCNN's dropout.

Source: Wang, Shrivastava, Gupta, "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection", CVPR 2017
(arXiv 1704.03414), section 4.1; the authors' code (``roi_data_layer/layer.py``, pre-training of the adversary).

The features of a positive, a grid of D x D cells, are shown to the detector with one window of cells after the other
set to 0. The window without which the object is recognised worst is the label that the adversary learns to predict.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    bool_array,
    count,
    finite_array,
    label_array,
    one_of,
)

OBJECTIVES = ("probability", "loss")


def dropout_window_starts(num_cells: int, *, window: int = 2, stride: int = 2) -> Int:
    r"""First row, or column, of each window.

    $\min(i \cdot stride, D - window)$ for $i = 0, ..., \lceil D / stride \rceil - 1$; a start that would come twice
    comes once.

    Parameters
    ----------
    num_cells : int >= 1
        $D$, cells of a row of the grid.
    window : int in [1, D]
        Cells of a side of a window.
    stride : int >= 1
        Cells from one window to the next.

    Returns
    -------
    int64, shape (S,)

    Raises
    ------
    SpecError
        A number is out of range.

    Source
    ------
    The code: windows of 2 by steps of 2. The paper: of D/3, at all positions, which is a stride of 1. Ruling: the last
    window is moved back by as much as it would stick out. The code moves it by one cell, which is the same for 2 and 2
    on 7 cells; elsewhere its last window is cut smaller.

    Examples
    --------
    >>> dropout_window_starts(7)
    array([0, 2, 4, 5])
    """
    # CHECKS
    num_cells, window, stride = count("num_cells", num_cells), count("window", window), count("stride", stride)
    if window > num_cells:
        raise SpecError(f"window: expected an int in [1, {num_cells}], the cells of a row, got {window}")

    # RESULT
    return np.unique(np.minimum(np.arange(0, num_cells, stride), num_cells - window))


def dropout_window_masks(num_cells: int, *, window: int = 2, stride: int = 2) -> Bool:
    r"""Every window as a mask of the grid, True in the cells that it blocks; row by row.

    Parameters
    ----------
    num_cells, window, stride
        As in `dropout_window_starts`.

    Returns
    -------
    bool, shape (J, D, D)
        $J = S^2$ windows of $window^2$ cells each.

    Raises
    ------
    SpecError
        As `dropout_window_starts`.

    Source
    ------
    As `dropout_window_starts`. Ruling: one meaning of a mask throughout, True = blocked; in the code's masks of the
    thresholding step 1 = kept.

    Examples
    --------
    >>> dropout_window_masks(4)[1].astype(int)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 0, 0],
           [0, 0, 0, 0]])
    """
    starts = dropout_window_starts(num_cells, window=window, stride=stride)
    masks = []
    for top in starts:
        for left in starts:
            mask = np.zeros((num_cells, num_cells), dtype=np.bool_)
            mask[top : top + window, left : left + window] = True
            masks.append(mask)
    return np.stack(masks)


def features_without_windows(features: ArrayLike, *, window: int = 2, stride: int = 2) -> Float:
    r"""Pooled features with each window in turn set to 0: $F \odot (1 - M_j)$.

    Parameters
    ----------
    features : finite float, shape (P, C, D, D)
        Of each RoI.
    window, stride
        As in `dropout_window_starts`.

    Returns
    -------
    float64, shape (P, J, C, D, D)
        What the detector is to score. All channels of a cell are blocked together, and what is left is not rescaled.

    Raises
    ------
    SpecError
        The features are not finite or not of that shape, an option is out of range.

    Source
    ------
    The paper, section 4.1. Ruling: no factor 1/(1 - rate), which neither paper nor code has.

    Examples
    --------
    >>> features_without_windows([[[[1.0, 2.0], [3.0, 4.0]]]], window=1, stride=1)[0, 3, 0]
    array([[1., 2.],
           [3., 0.]])
    """
    # CHECKS
    feature = _feature_array(features)
    masks = dropout_window_masks(feature.shape[-1], window=window, stride=stride)

    # RESULT
    return np.where(masks[np.newaxis, :, np.newaxis], 0.0, feature[:, np.newaxis])


def hardest_dropout_window(
    scores: ArrayLike, masks: ArrayLike, labels: ArrayLike, *, num_classes: int, objective: str = "probability"
) -> Bool:
    r"""The window without which each positive is recognised worst, as the label of the adversary.

    $M_{j^*}$ with $j^* = \arg\min_j p_y(F \odot (1 - M_j))$; of equal ones the first.

    Parameters
    ----------
    scores : finite float, shape (P, J)
        What the detector says of `features_without_windows`: the probability of the true class, or its loss.
    masks : bool, shape (J, D, D), J >= 1
        `dropout_window_masks`, or windows of any other form.
    labels : int, shape (P,)
        0..C-1 foreground, C background, -1 ignore.
    num_classes : int >= 1
        C.
    objective : {"probability", "loss"}
        What the scores are: the lowest probability or the highest loss is the hardest.

    Returns
    -------
    bool, shape (P, D, D)
        The cells of the window; none for what is not foreground.

    Raises
    ------
    SpecError
        Shapes do not fit, a score is not finite, a label or option is out of range.

    Source
    ------
    The paper, section 4.1: the highest loss; the code: the lowest probability of the true class, which is the highest
    cross entropy. The loss of boxes takes no part. Ruling: of equal windows the first, row by row.

    Examples
    --------
    >>> masks = dropout_window_masks(2, window=1, stride=1)
    >>> hardest_dropout_window([[0.9, 0.4, 0.6, 0.4]], masks, [0], num_classes=20).astype(int)
    array([[[0, 1],
            [0, 0]]])
    """
    # CHECKS
    mask = bool_array("masks", masks)
    if mask.ndim != 3 or mask.shape[1] != mask.shape[2] or len(mask) == 0:
        raise SpecError(f"masks: expected shape (J, D, D) with J >= 1, got {mask.shape}")
    score = finite_array("scores", scores)
    if score.ndim != 2 or score.shape[1] != len(mask):
        raise SpecError(f"scores: expected shape (P, {len(mask)}), got {score.shape}")
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=score.shape[:1])
    objective = one_of("objective", objective, OBJECTIVES)

    # QUANTITIES OF THE PAPER
    hardest = score.argmin(axis=1) if objective == "probability" else score.argmax(axis=1)
    foreground = (label >= 0) & (label < num_classes)

    # RESULT
    blocked: Bool = mask[hardest] & foreground[:, np.newaxis, np.newaxis]
    return blocked


def hardest_window_of_linear_score(
    features: ArrayLike, weights: ArrayLike, labels: ArrayLike, *, window: int = 2, stride: int = 2
) -> Bool:
    r"""The whole search where the score of a class is linear in the features.

    With $s_y(F) = \sum W_y \odot F$, blocking window $j$ leaves $s_y - c_j$ with
    $c_j = \sum_{cells \in M_j} \sum_{channels} W_y \odot F$. So the hardest window is the one with the largest $c_j$;
    of equal ones the first. A bias, and a sigmoid after the score, change nothing.

    Parameters
    ----------
    features : finite float, shape (P, C, D, D)
        Of each RoI.
    weights : finite float, shape (K, C, D, D)
        Of the K foreground classes' scores.
    labels : int, shape (P,)
        0..K-1 foreground, K background, -1 ignore.
    window, stride
        As in `dropout_window_starts`.

    Returns
    -------
    bool, shape (P, D, D)
        The cells of the window; none for what is not foreground.

    Raises
    ------
    SpecError
        Shapes do not fit, a number is not finite, a label or option is out of range.

    Source
    ------
    `hardest_dropout_window` of $\sigma(s_y)$; the linear score is ours: the detector's head is a network.

    Examples
    --------
    >>> features = [[[[1.0, 2.0], [3.0, 4.0]]]]
    >>> weights = [[[[1.0, 1.0], [2.0, 1.0]]]]
    >>> hardest_window_of_linear_score(features, weights, [0], window=1, stride=1).astype(int)
    array([[[0, 0],
            [1, 0]]])
    """
    # CHECKS
    feature = _feature_array(features)
    weight = finite_array("weights", weights)
    if weight.ndim != 4 or weight.shape[1:] != feature.shape[1:] or len(weight) == 0:
        raise SpecError(f"weights: expected shape (K, {', '.join(map(str, feature.shape[1:]))}), got {weight.shape}")
    label = label_array("labels", labels, num_classes=len(weight), shape=feature.shape[:1])
    masks = dropout_window_masks(feature.shape[-1], window=window, stride=stride)

    # QUANTITIES OF THE PAPER
    blocked = np.zeros((len(feature), *masks.shape[1:]), dtype=np.bool_)
    for i, y in enumerate(label):
        if 0 <= y < len(weight):
            lost = [(weight[y] * feature[i])[:, mask].sum() for mask in masks]
            blocked[i] = masks[np.argmax(lost)]

    # RESULT
    return blocked


def _feature_array(features: ArrayLike) -> Float:
    feature = finite_array("features", features)
    if feature.ndim != 4 or feature.shape[-1] != feature.shape[-2] or feature.shape[-1] == 0:
        raise SpecError(f"features: expected shape (P, C, D, D) with D >= 1, got {feature.shape}")
    return feature
