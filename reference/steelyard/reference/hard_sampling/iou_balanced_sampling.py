r"""IoU-balanced negative sampling (Libra R-CNN): equal numbers of negatives from equal ranges of IoU.

Source: Pang et al., "Libra R-CNN: Towards Balanced Learning for Object Detection", CVPR 2019 (arXiv 1904.02701),
section 3.1; the authors' code (`IoUBalancedNegSampler`, also in mmdet) where the paper is silent.

Most negatives hardly overlap an object, and random sampling therefore draws hardly any other. The more a negative
overlaps, the harder it tends to be: an equal share for each range of IoU brings the hard ones in.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    count,
    float_array,
    fraction,
    int_array,
    key_array,
    label_array,
    one_of,
    real_number,
)
from steelyard.reference.hard_sampling.keyed_draws import draw_by_groups, probabilities_by_groups, smallest_keys

UPPER_EDGES = ("all", "negatives")


def iou_balanced_negatives(  # noqa: PLR0913 - the bins and the floor, by keyword
    labels: ArrayLike,
    max_iou: ArrayLike,
    num_negatives: ArrayLike,
    keys: ArrayLike,
    fill_keys: ArrayLike,
    *,
    num_classes: int,
    num_bins: int = 3,
    floor_iou: float | None = None,
    floor_fraction: float = 0.0,
    upper: str | float = "all",
) -> Bool:
    r"""Draw the negatives of each image's sample, balanced over their IoUs.

    The negatives $M$ are parted at the floor into $F$, of the IoUs below, and $H$, of those from there on. With $n$
    negatives to draw, $n_H = \lfloor n (1 - \phi) \rfloor$ of them come from $H$ and the rest from $F$; what one of the
    two lacks, the other gives. Between the lower edge $a$ (the floor, or 0) and the upper edge $b$ lie $K$ bins,

    $$ B_k = \{ i \in H : a + k \delta \le o_i < a + (k + 1) \delta \}, \qquad \delta = (b - a) / K, $$

    the last one without an upper end. Of each bin $\lfloor n_H / K \rfloor$ are drawn, or all if it holds fewer; what
    is missing is drawn from the rest of $H$, of all bins alike.

    Parameters
    ----------
    labels : int, shape (..., N)
        0..C-1 foreground, C background (the negatives), -1 ignore or padding.
    max_iou : float, shape of `labels`
        $o$, the largest IoU with an object. In [0, 1] for all candidates that are not ignored; at most 1 for these.
    num_negatives : int >= 0, shape (...)
        $n$ of each image: what the positives leave of the sample.
    keys : float in [0, 1), shape of `labels`
        One random number a candidate, for the draw from each bin and from $F$: the smallest are drawn.
    fill_keys : float in [0, 1), shape of `labels`
        Another one, for what is drawn from the rest of $H$.
    num_classes : int >= 1
        C.
    num_bins : int >= 1
        $K$ (paper: 3).
    floor_iou : float in [0, 1) or None
        Where $F$ ends. None: there is no $F$. At 0 it holds the IoUs of exactly 0.
    floor_fraction : float in [0, 1]
        $\phi$, share of the negatives that comes from $F$.
    upper : "all", "negatives", or float in (floor, 1]
        $b$: the largest IoU of all candidates, of the negatives, or a number.

    Returns
    -------
    bool, shape of `labels`
        min(n, M) negatives of each image.

    Raises
    ------
    SpecError
        Shapes differ, a key is not in [0, 1), an IoU, label, number or parameter is out of range.

    Source
    ------
    Section 3.1, where K divides n and every bin holds enough; the authors' code beyond. Rulings: with ``upper="all"``,
    the authors' code, positives and ground-truth boxes among the proposals move $b$ to 1, so that the last third of the
    axis holds no negative; 0.5, the threshold between negatives and positives, is what the paper draws. The negative
    that lies at $b$ is in the last bin (in the authors' code in none), and no call changes what the next one does (in
    the authors' code the first one moves a floor that is off to 0).

    Examples
    --------
    Three of six negatives. The bins are [0, 1/6), [1/6, 1/3) and [1/3, 1/2]: one of each.

    >>> iou, keys = [0.0, 0.05, 0.1, 0.2, 0.4, 0.45], [0.1, 0.2, 0.3, 0.4, 0.6, 0.5]
    >>> np.flatnonzero(iou_balanced_negatives([1] * 6, iou, 3, keys, keys, num_classes=1, upper=0.5))
    array([0, 3, 5])
    """
    # CHECKS
    key = key_array("keys", keys)
    fill_key = key_array("fill_keys", fill_keys, shape=key.shape)
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=key.shape)
    iou = _iou_array(max_iou, label)
    number = int_array("num_negatives", num_negatives, low=0, shape=key.shape[:-1])
    num_bins, floor_iou, floor_fraction, upper = _options(num_bins, floor_iou, floor_fraction, upper)

    # QUANTITIES OF THE PAPER
    drawn = np.empty(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        negative = label[image] == num_classes
        bins = _bins(iou[image], negative, num_bins, floor_iou, upper)
        below = negative & (bins < 0)
        quota, from_bins, from_below = _numbers(bins, below, int(number[image]), num_bins, floor_fraction)
        drawn[image] = draw_by_groups(bins, key[image], fill_key[image], quota=quota, total=from_bins)
        drawn[image] |= smallest_keys(key[image], below, from_below)

    # RESULT
    return drawn


def iou_balanced_probabilities(
    labels: ArrayLike,
    max_iou: ArrayLike,
    num_negatives: int,
    *,
    num_classes: int,
    num_bins: int = 3,
    floor_iou: float | None = None,
    floor_fraction: float = 0.0,
    upper: str | float = "all",
) -> tuple[Float, Float]:
    r"""Exact probability of each candidate, and of each pair, to be drawn by `iou_balanced_negatives`.

    With $m_k$ candidates in bin $k$, of which the quota takes $t_k$, and $R$ drawn from the $U$ that are left,

    $$ \pi_k = \frac{t_k}{m_k} + \Big(1 - \frac{t_k}{m_k}\Big) \frac{R}{U}. $$

    Parameters
    ----------
    labels, max_iou : shape (N,)
        As in `iou_balanced_negatives`, of one image.
    num_negatives, num_classes, num_bins, floor_iou, floor_fraction, upper
        As in `iou_balanced_negatives`.

    Returns
    -------
    float64, shape (N,), and float64, shape (N, N)
        Of candidates, and of pairs; on the diagonal the candidates' own.

    Raises
    ------
    SpecError
        As `iou_balanced_negatives`.

    Source
    ------
    Section 3.1, whose probability $\frac{N}{K} \frac{1}{M_k}$ is the case $R = 0$; sampling without replacement.

    Examples
    --------
    Bins of 3, 1 and 0 negatives, three of which are drawn: the quota takes one of the first and the only one of the
    second, and the third one is drawn from the two that are left, 1/3 + 2/3 * 1/2.

    >>> single, _ = iou_balanced_probabilities([1] * 4, [0.0, 0.1, 0.1, 0.4], 3, num_classes=1, upper=0.9)
    >>> single.round(6)
    array([0.666667, 0.666667, 0.666667, 1.      ])
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes)
    if label.ndim != 1:
        raise SpecError(f"labels: expected shape (N,), got {label.shape}")
    iou = _iou_array(max_iou, label)
    number = count("num_negatives", num_negatives, low=0)
    num_bins, floor_iou, floor_fraction, upper = _options(num_bins, floor_iou, floor_fraction, upper)

    # QUANTITIES OF THE PAPER
    negative = label == num_classes
    bins = _bins(iou, negative, num_bins, floor_iou, upper)
    below = negative & (bins < 0)
    quota, from_bins, from_below = _numbers(bins, below, number, num_bins, floor_fraction)
    of_bins, pair_of_bins = probabilities_by_groups(bins, quota=quota, total=from_bins)
    of_floor, pair_of_floor = probabilities_by_groups(np.where(below, 0, -1), quota=from_below, total=from_below)

    # RESULT
    across = np.outer(of_bins, of_floor)  # the two draws are independent, and no candidate is in both
    return of_bins + of_floor, pair_of_bins + pair_of_floor + across + across.T


def _bins(iou: Float, negative: Bool, num_bins: int, floor_iou: float | None, upper: str | float) -> Int:
    """The bin of each negative from the floor on; -1 for all other candidates."""
    a = 0.0 if floor_iou is None else floor_iou
    above = negative & ((iou > 0.0) if floor_iou == 0.0 else (iou >= a))
    if isinstance(upper, str):
        b = float(np.max(iou, where=negative if upper == "negatives" else np.full(iou.shape, True), initial=0.0))
    else:
        b = upper
    edges = [a + (b - a) * k / num_bins for k in range(1, num_bins)]
    return np.where(above, np.digitize(iou, edges), -1)


def _numbers(bins: Int, below: Bool, number: int, num_bins: int, floor_fraction: float) -> tuple[int, int, int]:
    """Quota of each bin, and how many are drawn from the bins and from below the floor."""
    wanted = int(number * (1.0 - floor_fraction))
    size, size_below = (bins >= 0).sum(), below.sum()
    from_bins = min(size, max(wanted, number - size_below))
    return wanted // num_bins, from_bins, number - from_bins


def _iou_array(max_iou: ArrayLike, label: Int) -> Float:
    iou = float_array("max_iou", max_iou, shape=label.shape)
    if not ((iou <= 1.0) & ((iou >= 0.0) | (label == -1))).all():
        raise SpecError("max_iou: expected numbers in [0, 1], got one outside or NaN")
    return iou


def _options(
    num_bins: int, floor_iou: float | None, floor_fraction: float, upper: str | float
) -> tuple[int, float | None, float, str | float]:
    num_bins = count("num_bins", num_bins)
    floor_fraction = fraction("floor_fraction", floor_fraction)
    if floor_iou is not None and not 0.0 <= real_number("floor_iou", floor_iou) < 1.0:
        raise SpecError(f"floor_iou: expected None or a number in [0, 1), got {floor_iou}")
    if isinstance(upper, str):
        return num_bins, floor_iou, floor_fraction, one_of("upper", upper, UPPER_EDGES)
    if not (floor_iou or 0.0) < real_number("upper", upper) <= 1.0:
        raise SpecError(f"upper: expected all, negatives, or a number in (floor, 1], got {upper}")
    return num_bins, floor_iou, floor_fraction, upper
