r"""PISA, negatives: the false positives that matter most are the best scored ones of each cluster (Score-HLR, ISR-N).

Source: Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821); the first
author's code in mmdet (`ScoreHLRSampler`) and mmcv (`nms_match`).

Non-maximum suppression will keep only the best scored box of a cluster. So the negatives of an image are grouped as
it would group them (NMS-match) and ranked: first the best of every group, then every second best, and so on. The
first ones are sampled, with weights that fall with the rank and keep the sum of the losses as it was.

For two-stage detectors, inside the sampler, image by image.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    box_array,
    count,
    finite_array,
    float_array,
    fraction,
    int_array,
    key_array,
    mask_array,
    non_negative,
)
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.non_maximum_suppression import by_score
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys
from steelyard.reference.soft_sampling.pisa import conserving_ratio, hierarchical_local_rank, loss_of_samples


class ForegroundScore(NamedTuple):
    """What `highest_foreground_score` returns."""

    scores: Float
    """Shape (...): the highest probability of a foreground class."""
    classes: Int
    """Shape (...): that class."""


class WeightedNegatives(NamedTuple):
    """What `isr_n_weights` returns."""

    selected: Bool
    """Shape (N,): the sampled negatives."""
    weights: Float
    """Shape (N,): their weights in the classification loss, 0 for all others."""


def highest_foreground_score(logits: ArrayLike) -> ForegroundScore:
    r"""Score with which a sample would be a false positive, and the class it would be one of.

    $$ s_i = \max_{c < C} \mathrm{softmax}(z_i)_c $$

    The background has its share in the softmax, but not in the maximum.

    Parameters
    ----------
    logits : float, shape (..., C + 1)
        $z$, finite; the last channel is the background.

    Returns
    -------
    ForegroundScore
        `scores` float64 (...) in [0, 1], `classes` int64 (...) in 0..C-1; of equal scores the lower class.

    Raises
    ------
    SpecError
        There are fewer than two channels, a logit is not finite.

    Source
    ------
    Paper, on Score-HLR; mmdet `ScoreHLRSampler`.

    Examples
    --------
    Probabilities 1/4, 1/8 and, of the background, 5/8.

    >>> scores, classes = highest_foreground_score(np.log([[2.0, 1.0, 5.0]]))
    >>> scores.round(12), classes
    (array([0.25]), array([0]))
    """
    # CHECKS
    z = finite_array("logits", logits)
    if z.ndim == 0 or z.shape[-1] < 2:
        raise SpecError(f"logits: expected shape (..., C + 1) with C >= 1, got {z.shape}")

    # QUANTITIES OF THE PAPER
    with np.errstate(over="ignore"):  # a difference may pass the range of float64: its exponential is 0
        shares = np.exp(z - z.max(axis=-1, keepdims=True))
    classes = z[..., :-1].argmax(axis=-1)

    # RESULT
    of_class = np.take_along_axis(shares, classes[..., None], axis=-1)[..., 0]
    return ForegroundScore(of_class / shares.sum(axis=-1), classes)


def boxes_of_class(boxes: ArrayLike, classes: ArrayLike) -> Float:
    """Of the boxes that a sample has, one for each class, that of the given class.

    Parameters
    ----------
    boxes : float, shape (N, C, 4)
        Decoded boxes of a class-specific regression.
    classes : int in 0..C-1, shape (N,)
        As `highest_foreground_score` returns them.

    Returns
    -------
    float64, shape (N, 4)

    Raises
    ------
    SpecError
        A shape does not fit, a class is out of range, a number is not finite.

    Source
    ------
    mmdet pull request 2626, review: ``boxes[:, classes]`` would pair every sample with every class.

    Examples
    --------
    >>> boxes_of_class([[[0, 0, 1, 1], [0, 0, 2, 2]], [[0, 0, 3, 3], [0, 0, 4, 4]]], [1, 0])
    array([[0., 0., 2., 2.],
           [0., 0., 3., 3.]])
    """
    # CHECKS
    box = finite_array("boxes", boxes)
    if box.ndim != 3 or box.shape[2] != 4:
        raise SpecError(f"boxes: expected shape (N, C, 4), got {box.shape}")
    index = int_array("classes", classes, low=0, high=box.shape[1] - 1, shape=box.shape[:1])

    # RESULT
    return box[np.arange(len(box)), index]


def nms_match(boxes: ArrayLike, scores: ArrayLike, *, iou_threshold: float = 0.5, mask: ArrayLike | None = None) -> Int:
    """NMS-match: the cluster of each box, as non-maximum suppression would form them.

    In the order of the scores, each box that has no group yet opens one and takes with it every box without a
    group that overlaps it by the threshold or more, whatever the classes.

    Parameters
    ----------
    boxes : float, shape (N, 4)
        Decoded boxes.
    scores : float, shape (N,)
    iou_threshold : float in [0, 1]
        Authors' code: 0.5.
    mask : bool, shape (N,), or None
        False for boxes that take no part.

    Returns
    -------
    int64, shape (N,)
        Number of the group, in the order in which they are opened, -1 for boxes that take no part.

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite, the threshold is not in [0, 1].

    Source
    ------
    Paper, on NMS-match; mmcv `nms_match`. Rulings: an IoU equal to the threshold joins the group (ordinary
    suppression asks for more than the threshold); of equal scores the lower index goes first.

    Examples
    --------
    The second box has IoU 1/2 with the first and joins it. The third one has 0.25 with the first, and 1/2 with the
    second, which opened no group.

    >>> nms_match([[0, 0, 8, 8], [0, 0, 8, 4], [0, 0, 8, 2]], [0.9, 0.8, 0.7], iou_threshold=0.5)
    array([0, 0, 1])
    """
    # CHECKS
    box = box_array("boxes", boxes)
    score = finite_array("scores", scores, shape=box.shape[:1])
    iou_threshold = fraction("iou_threshold", iou_threshold)
    takes_part = mask_array("mask", mask, score.shape)

    # RESULT
    group = np.full(len(box), -1)
    number_of_groups = 0
    for leader in by_score(score):
        if takes_part[leader] and group[leader] == -1:
            (overlaps,) = pairwise_iou(box[[leader]], box)
            group[takes_part & (group == -1) & (overlaps >= iou_threshold)] = number_of_groups
            group[leader] = number_of_groups  # also a degenerate box, which has IoU 0 with itself
            number_of_groups += 1
    return group


def score_hierarchical_local_rank(scores: ArrayLike, groups: ArrayLike) -> Int:
    r"""Score-HLR: rank of every grouped negative of an image, 0 the most important.

    1. The members of each group, ordered by descending score, get the local rank $0, 1, \ldots$;
    2. all of them, ordered by ascending local rank and, of equal local rank, by descending score, get the rank
       $r_i = 0, 1, \ldots$

    Parameters
    ----------
    scores : float, shape (N,)
    groups : int >= -1, shape (N,)
        Number of the group, as `nms_match` returns it; -1 for entries that take no part.

    Returns
    -------
    int64, shape (N,)
        $r_i$; -1 for entries of no group.

    Raises
    ------
    SpecError
        Shapes differ, a group is below -1, the score of a grouped entry is not finite.

    Source
    ------
    Paper, on Score-HLR. Ruling: of equal scores the lower index goes first.

    Examples
    --------
    >>> score_hierarchical_local_rank([0.9, 0.7, 0.65, 0.5, 0.3, 0.2], [0, 0, 1, 1, 0, 2])
    array([0, 3, 1, 4, 5, 2])
    """
    # CHECKS
    score = float_array("scores", scores)
    group = int_array("groups", groups, low=-1, shape=score.shape)
    if score.ndim != 1:
        raise SpecError(f"scores: expected shape (N,), got {score.shape}")
    grouped = group >= 0
    finite_array("scores", np.where(grouped, score, 0.0))

    # RESULT
    rank = np.full(score.shape, -1)
    rank[grouped] = hierarchical_local_rank(score[grouped], group[grouped].tolist())
    return rank


def isr_n_weights(  # noqa: PLR0913 - the quantities of a sample, and the options of the paper by keyword
    scores: ArrayLike,
    boxes: ArrayLike,
    classification_losses: ArrayLike,
    keys: ArrayLike,
    *,
    num_expected: int,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    gamma: float = 0.5,
    beta: float = 0.0,
    mask: ArrayLike | None = None,
) -> WeightedNegatives:
    r"""ISR-N: which negatives of an image are sampled, and their weights in the classification loss.

    A negative is *valid* if its score is above `score_threshold`. Of the $n_{valid}$ valid ones the first
    $m = \min(n_{valid}, n_{exp})$ by Score-HLR are selected; $n_{exp} - m$ of the others, drawn at random, fill the
    rest. With the rank $r_i$:

    $$ U = \max(n_{exp}, n_{valid}), \qquad u_i = \frac{U - r_i}{U}, \qquad w_i = ((1 - \beta) u_i + \beta)^\gamma,
       \qquad w'_i = w_i \, \frac{\sum_k L_k}{\sum_k w_k L_k} $$

    Fillers have the smallest $u$ of the ranked ones. The sums run over the selected negatives, fillers included.
    Without a valid negative all are drawn at random, with weight 1. The weights are constants.

    Parameters
    ----------
    scores : float, shape (N,)
        $s_i$, as `highest_foreground_score` returns them.
    boxes : float, shape (N, 4)
        Decoded box of the class of that score, see `boxes_of_class`.
    classification_losses : float >= 0, shape (N,) or (N, K)
        $L_i$ as background, a constant. With K channels their sum. Only those of negatives are looked at.
    keys : float in [0, 1), shape (N,)
        Uniform random numbers: the fillers are those with the smallest keys, of equal ones the lower index.
    num_expected : int >= 0
        $n_{exp}$: samples of an image less its sampled positives. Cut to the number of negatives.
    score_threshold : float
        Authors' code: 0.05.
    iou_threshold : float in [0, 1]
        Of `nms_match`.
    gamma : float >= 0
        Degree of preference for prime samples (authors' code: 0.5).
    beta : float in [0, 1]
        Weight of rank U in proportion to the first one's (authors' code: 0).
    mask : bool, shape (N,), or None
        The negatives: False for boxes assigned to an object, ignored ones, padding. None: all are negatives.

    Returns
    -------
    WeightedNegatives
        `selected` bool (N,), `weights` float64 (N,).

    Raises
    ------
    SpecError
        A shape does not fit, a number is not finite or out of range.

    Source
    ------
    Paper, on importance-based sample reweighting; mmdet `ScoreHLRSampler`. Rulings: a score equal to
    the threshold is not valid; one ratio an image, 1 where $\sum_k w_k L_k = 0$.

    Examples
    --------
    Two clusters, (0, 1) and (2, 3), of which three boxes are wanted: u = 1, 2/4 for box 1 of local rank 1, and 3/4.

    >>> boxes = [[0, 0, 8, 8], [0, 0, 8, 6], [20, 0, 28, 8], [20, 0, 28, 6]]
    >>> selected, weights = isr_n_weights(
    ...     [0.9, 0.7, 0.5, 0.3], boxes, [1.0, 1.0, 1.0, 1.0], [0.0] * 4, num_expected=3, gamma=1.0
    ... )
    >>> selected, weights.round(6)
    (array([ True,  True,  True, False]), array([1.333333, 0.666667, 1.      , 0.      ]))
    """
    # CHECKS
    box = box_array("boxes", boxes)
    score = finite_array("scores", scores, shape=box.shape[:1])
    negative = mask_array("mask", mask, score.shape)
    loss = loss_of_samples(classification_losses, score.shape, negative)
    key = key_array("keys", keys, shape=score.shape)
    n_exp = min(count("num_expected", num_expected, low=0), negative.sum())
    (score_threshold,) = finite_array("score_threshold", [score_threshold])
    gamma = non_negative("gamma", gamma)
    beta = fraction("beta", beta)

    # QUANTITIES OF THE PAPER
    valid = negative & (score > score_threshold)
    rank = score_hierarchical_local_rank(score, nms_match(box, score, iou_threshold=iou_threshold, mask=valid))
    n_valid = valid.sum()
    m = min(n_valid, n_exp)
    ranked = valid & (rank < m)
    fillers = smallest_keys(key, negative & ~valid, n_exp - m)

    upper = max(n_exp, n_valid)
    u = np.zeros(score.shape)
    u[ranked] = (upper - rank[ranked]) / upper
    u[fillers] = u[ranked].min(initial=1.0)
    importance = ((1.0 - beta) * u + beta) ** gamma

    # RESULT
    selected = ranked | fillers
    ratio = conserving_ratio(importance[selected], loss[selected])
    return WeightedNegatives(selected, np.where(selected, importance * ratio, 0.0))
