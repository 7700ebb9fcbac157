r"""The positive RoI generator (pRoI): which object each generated box belongs to, which IoU is asked of it, the boxes.

Source: Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors",
WACV 2020 (arXiv 1909.09777), algorithm 2; the authors' code (``pRoI_generator.py``, ``configs/BBGeneration``).
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
    key_array,
    label_array,
    one_of,
    probability_inside,
)
from steelyard.reference.detection.box_overlaps import aligned_iou
from steelyard.reference.detection.boxes import clip_boxes
from steelyard.reference.generative.box_generator import generate_boxes
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

ALLOCATIONS = ("random", "quota")


def iou_bin_quotas(weights: ArrayLike, *, num_rois: int) -> Int:
    r"""How many boxes of each bin of IoU, in proportion to the weights: the largest remainders round up.

    $\lfloor n w_j / W \rfloor$ each, with $W = \sum w_j$; what is missing to $n$ goes to the bins with the largest
    remainders $n w_j / W - \lfloor n w_j / W \rfloor$, one each, of equal ones to the first.

    Parameters
    ----------
    weights : float >= 0, shape (J,)
        $w_j$, not all 0.
    num_rois : int >= 0
        $n$.

    Returns
    -------
    int64, shape (J,)
        Their sum is n.

    Raises
    ------
    SpecError
        A weight is negative or not finite, all are 0, `num_rois` is negative.

    Source
    ------
    Ours: the paper draws bins at random; the method of Hamilton.

    Examples
    --------
    Of 10 boxes 4.8, 2.5 and 2.7:

    >>> iou_bin_quotas([0.48, 0.25, 0.27], num_rois=10)
    array([5, 2, 3])
    """
    # CHECKS
    weight = _weight_array(weights)
    num_rois = count("num_rois", num_rois, low=0)

    # QUANTITIES OF THE PAPER
    share = num_rois * weight / np.cumsum(weight)[-1]
    quota = share.astype(np.int64)  # the whole part
    order = np.argsort(-(share - quota), kind="stable")

    # RESULT
    quota[order[: num_rois - quota.sum()]] += 1
    return quota


def requested_ious(
    bin_edges: ArrayLike,
    weights: ArrayLike,
    bin_keys: ArrayLike,
    position_keys: ArrayLike,
    *,
    allocation: str = "random",
    highest: float = 0.95,
) -> Float:
    r"""The IoU asked of each box: a bin in proportion to its weight, then a uniform place in it.

    $T = \min(e_j + u (e_{j+1} - e_j), highest)$. Bin $j$ of a box with the key $k$: the first with
    $\sum_{i \le j} w_i > k W$; with quotas the box with the $r$-th smallest key of the last axis, r from 0, has the
    first bin with $\sum_{i \le j} quota_i > r$.

    Parameters
    ----------
    bin_edges : float in (0, 1], increasing, shape (J + 1,)
        $e$. The paper's: 0.5, 0.6, 0.7, 0.8, 0.9, 1.
    weights : float >= 0, shape (J,)
        $w$, not all 0. Published: (0.73, 0.12, 0.15, 0.05, 0), whose sum is 1.05.
    bin_keys, position_keys : float in [0, 1), shape (..., n)
        One random number each a box.
    allocation : {"random", "quota"}
        The numbers of boxes of the bins are random, or `iou_bin_quotas`.
    highest : float in (0, 1)

    Returns
    -------
    float64, shape (..., n)
        $T$.

    Raises
    ------
    SpecError
        Shapes do not fit, a number is out of its range.

    Source
    ------
    Algorithm 2 and the authors' code: a multinomial draw, cut at 0.95. Ruling: the weights are normalised. The quotas
    are ours.

    Examples
    --------
    >>> requested_ious([0.5, 0.6, 1.0], [3.0, 1.0], [0.7, 0.8], [0.5, 0.25])
    array([0.55, 0.7 ])
    """
    # CHECKS
    weight = _weight_array(weights)
    edge = finite_array("bin_edges", bin_edges, shape=(len(weight) + 1,))
    if edge[0] <= 0.0 or edge[-1] > 1.0 or (np.diff(edge) <= 0.0).any():
        raise SpecError(f"bin_edges: expected increasing numbers in (0, 1], got {edge.tolist()}")
    bin_key = key_array("bin_keys", bin_keys)
    position = key_array("position_keys", position_keys, shape=bin_key.shape)
    allocation = one_of("allocation", allocation, ALLOCATIONS)
    highest = probability_inside("highest", highest)

    # QUANTITIES OF THE PAPER
    if allocation == "random":
        level = np.cumsum(weight)
        place = np.searchsorted(level, bin_key * level[-1], side="right")
    else:
        level = np.cumsum(iou_bin_quotas(weight, num_rois=bin_key.shape[-1]))
        rank = np.argsort(np.argsort(bin_key, axis=-1, kind="stable"), axis=-1)
        place = np.searchsorted(level, rank, side="right")

    # RESULT
    return np.minimum(edge[place] + position * (edge[place + 1] - edge[place]), highest)


def instance_slots(labels: ArrayLike, *, num_classes: int, num_rois: int) -> Int:
    r"""How many boxes each object is to have before the surplus is dropped: the same for each class, then each object.

    With $K$ classes and $n_c$ objects of class $c$ in the image, $\lceil \lceil n / K \rceil / n_c \rceil$.

    Parameters
    ----------
    labels : int, shape (..., M)
        0..C-1 foreground, C background, -1 ignore or padding: only foreground has boxes.
    num_classes : int >= 1
        C.
    num_rois : int >= 0
        $n$.

    Returns
    -------
    int64, shape of `labels`
        Between n and n + M - 1 in all, in an image with an object.

    Raises
    ------
    SpecError
        A label or number is out of range.

    Source
    ------
    Algorithm 2.

    Examples
    --------
    Four for each class; two of three objects would give four, but 4/3 is rounded up.

    >>> instance_slots([0, 0, 0, 1], num_classes=80, num_rois=8)
    array([2, 2, 2, 4])
    """
    # CHECKS
    num_classes, num_rois = count("num_classes", num_classes), count("num_rois", num_rois, low=0)
    label = label_array("labels", labels, num_classes=num_classes)

    # QUANTITIES OF THE PAPER
    slots = np.zeros(label.shape, dtype=np.int64)
    for image in np.ndindex(label.shape[:-1]):
        present, sizes = np.unique(_foreground_only(label[image], num_classes), return_counts=True)
        for c, size in zip(present, sizes, strict=True):
            of_class = -(-num_rois // len(present))
            slots[image][label[image] == c] = -(-of_class // size)

    # RESULT
    return slots


def generate_positive_rois(  # noqa: PLR0913, PLR0917 - one array of keys for each random choice
    gt_boxes: ArrayLike,
    gt_labels: ArrayLike,
    image_size: ArrayLike,
    bin_edges: ArrayLike,
    weights: ArrayLike,
    slot_keys: ArrayLike,
    bin_keys: ArrayLike,
    position_keys: ArrayLike,
    coin_keys: ArrayLike,
    first_keys: ArrayLike,
    second_keys: ArrayLike,
    *,
    num_classes: int,
    allocation: str = "random",
    highest: float = 0.95,
) -> tuple[Float, Float, Float, Int, Int]:
    r"""Positive RoIs of each image: $n$ boxes around its objects, balanced over classes, with the IoUs asked for.

    Each object has `instance_slots` slots, object by object; of all slots those n with the smallest keys are kept, in
    their order. To slot i of the kept belongs the i-th of `requested_ious`, and of `generate_boxes`. Objects are
    clipped to the image before, boxes after.

    Parameters
    ----------
    gt_boxes : finite float, shape (B, M, 4)
        x1, y1, x2, y2.
    gt_labels : int, shape (B, M)
        0..C-1 foreground, C background, -1 ignore or padding.
    image_size : float >= 0, shape (B, 2)
        Height and width.
    bin_edges, weights
        As in `requested_ious`.
    slot_keys : float in [0, 1), shape (B, n + M)
        As many slots as there can be, and one.
    bin_keys, position_keys, coin_keys : float in [0, 1), shape (B, n)
    first_keys, second_keys : float in [0, 1), shape (B, n, R, 2)
    num_classes : int >= 1
        C.
    allocation, highest
        As in `requested_ious`.

    Returns
    -------
    float64, shape (B, n, 4)
        The boxes.
    float64, shape (B, n)
        Their IoU with their objects, both clipped.
    float64, shape (B, n)
        The IoU that was asked for.
    int64, shape (B, n)
        The number of the object, in `gt_boxes`.
    int64, shape (B, n)
        Its class.

    An image without an object has boxes and IoUs of 0, and numbers and classes of -1.

    Raises
    ------
    SpecError
        Shapes do not fit, a number is out of its range.

    Source
    ------
    Algorithm 2. Rulings: an object whose clipped box has no area is left out, and the numbers are those of the full
    list (the authors' code counts in the list without it); objects are clipped first, since a box around an object that
    sticks out may fall below T when both are cut; the label is that of the object whatever else the box overlaps.

    Examples
    --------
    Two boxes around one object, with keys that give the object's own box at T = 0.5:

    >>> zeros, first, second = np.zeros((1, 2)), np.full((1, 2, 1, 2), 2 / 3), np.full((1, 2, 1, 2), 1 / 3)
    >>> boxes, iou, asked, number, label = generate_positive_rois(
    ...     [[[10, 20, 30, 40]]], [[7]], [[100, 100]], [0.5, 0.6], [1.0], [[0.2, 0.3, 0.1]],
    ...     zeros, zeros, zeros, first, second, num_classes=80)
    >>> boxes[0, 0].round(6), number.tolist(), label.tolist()
    (array([10., 20., 30., 40.]), [[0, 0]], [[7, 7]])
    """
    # CHECKS
    gt = finite_array("gt_boxes", gt_boxes)
    if gt.ndim != 3 or gt.shape[-1] != 4:
        raise SpecError(f"gt_boxes: expected shape (B, M, 4), got {gt.shape}")
    images, objects = gt.shape[:2]
    num_classes = count("num_classes", num_classes)
    label = label_array("gt_labels", gt_labels, num_classes=num_classes, shape=(images, objects))
    size = finite_array("image_size", image_size, shape=(images, 2))
    coin = key_array("coin_keys", coin_keys)
    if coin.ndim != 2 or len(coin) != images:
        raise SpecError(f"coin_keys: expected shape ({images}, n), got {coin.shape}")
    n = coin.shape[1]
    slot_key = key_array("slot_keys", slot_keys, shape=(images, n + objects))
    bin_key = key_array("bin_keys", bin_keys, shape=coin.shape)
    position = key_array("position_keys", position_keys, shape=coin.shape)
    first, second = key_array("first_keys", first_keys), key_array("second_keys", second_keys)
    asked = requested_ious(bin_edges, weights, bin_key, position, allocation=allocation, highest=highest)

    # QUANTITIES OF THE PAPER
    box, iou, asked_of = np.zeros((images, n, 4)), np.zeros((images, n)), np.zeros((images, n))
    number, own_label = np.full((images, n), -1), np.full((images, n), -1)
    for b in range(images):
        clipped = clip_boxes(gt[b], size[b])
        usable = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        slots = instance_slots(np.where(usable, label[b], -1), num_classes=num_classes, num_rois=n)
        if slots.any():
            owner = np.repeat(np.arange(objects), slots)
            taken = np.zeros(n + objects, dtype=np.bool_)
            taken[: len(owner)] = True
            number[b] = owner[np.flatnonzero(smallest_keys(slot_key[b], taken, n))]
            own_label[b], own_box = label[b][number[b]], clipped[number[b]]
            drawn, _ = generate_boxes(own_box, asked[b], coin[b], first[b], second[b])
            box[b], asked_of[b] = clip_boxes(drawn, size[b]), asked[b]
            iou[b] = aligned_iou(box[b], own_box)

    # RESULT
    return box, iou, asked_of, number, own_label


def _foreground_only(label: Int, num_classes: int) -> Int:
    foreground: Bool = (label >= 0) & (label < num_classes)
    return label[foreground]


def _weight_array(weights: ArrayLike) -> Float:
    weight = finite_array("weights", weights)
    if weight.ndim != 1 or (weight < 0.0).any() or not weight.any():
        raise SpecError("weights: expected shape (J,), numbers >= 0 that are not all 0")
    return weight
