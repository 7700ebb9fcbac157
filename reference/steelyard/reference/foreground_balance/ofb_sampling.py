r"""Online foreground balanced sampling: the positives of a mini-batch, drawn so that every class has the same chance.

Source: Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors",
WACV 2020 (arXiv 1909.09777), the section on OFB sampling; the authors' code (``foreground_balanced_pos_sampler.py``).

Among the positives of an image the frequent classes, and the objects that many boxes overlap, have most of the boxes. A
uniform draw keeps that; here each class present gets the same total probability, shared by its boxes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, Int, SpecError, count, int_array, key_array, label_array
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys


def foreground_balanced_sampling(labels: ArrayLike, keys: ArrayLike, *, num_classes: int, num_expected: int) -> Bool:
    r"""Draw positives of each image with the same total probability for every class present.

    With $n_c$ positives of class $c$ and $K$ classes with $n_c > 0$, positive $i$ has the probability of the first draw

    $$ p_i = \frac{1}{K \, n_{c(i)}}. $$

    $n$ draws follow one another without replacement, each in proportion to the $p$ of those that are left. This is the
    order in which independent exponential clocks of rates $p_i$ ring, so with a uniform key $u_i$ each,

    $$ T_i = -n_{c(i)} \ln(1 - u_i), $$

    and the $n$ positives with the smallest $T_i$ are drawn ($K$, common to all, cancels); of equal ones the first.

    Parameters
    ----------
    labels : int, shape (..., N)
        0..C-1 foreground, C background, -1 ignore: only foreground is drawn.
    keys : float in [0, 1), shape of `labels`
        One random number a candidate.
    num_classes : int >= 1
        C.
    num_expected : int >= 0
        $n$, the quota of positives of an image: of a sample of 512 with a share of 0.25, 128.

    Returns
    -------
    bool, shape of `labels`
        The drawn positives, $\min(n, P)$ of an image with $P$.

    Raises
    ------
    SpecError
        Shapes differ, a key is not in [0, 1), a label or number is out of range.

    Source
    ------
    The paper's OFB sampling. Rulings: without replacement, as the authors' code draws; classes are those present among
    the positives of the image; with no more positives than the quota all are taken. So balance is not perfect: a class
    with few boxes is soon exhausted, and others fill the quota.

    Examples
    --------
    Equal keys: the clock of the one box of class 1 rings before those of the three of class 0.

    >>> foreground_balanced_sampling([0, 0, 0, 1, 2], [0.5, 0.4, 0.5, 0.5, 0.1], num_classes=2, num_expected=1)
    array([False, False, False,  True, False])
    """
    # CHECKS
    key = key_array("keys", keys)
    num_classes, num_expected = count("num_classes", num_classes), count("num_expected", num_expected, low=0)
    label = label_array("labels", labels, num_classes=num_classes, shape=key.shape)

    # QUANTITIES OF THE PAPER
    drawn = np.empty(label.shape, dtype=np.bool_)
    for image in np.ndindex(label.shape[:-1]):
        foreground = (label[image] >= 0) & (label[image] < num_classes)
        _, place, size = np.unique(label[image], return_inverse=True, return_counts=True)
        clock = np.asarray(-np.log1p(-key[image]) * size[place], dtype=np.float64)
        drawn[image] = smallest_keys(clock, foreground, num_expected)

    # RESULT
    return drawn


def class_count_distribution(class_sizes: ArrayLike, *, num_expected: int) -> tuple[Int, Float]:
    r"""Exact law of how many of each class online foreground balanced sampling draws.

    From $d = 0$, each draw takes class $c$ with probability

    $$ \frac{1 - d_c / n_c}{\sum_{j} (1 - d_j / n_j)}, $$

    the mass that it has left; given the counts, the members of a class are equally likely.

    Parameters
    ----------
    class_sizes : int >= 0, shape (C,)
        $n_c$: positives of each class.
    num_expected : int >= 0
        $n$.

    Returns
    -------
    int64, shape (S, C), and float64, shape (S,)
        The vectors of counts that can occur, in lexicographic order, and their probabilities.

    Raises
    ------
    SpecError
        The sizes are not one axis of numbers >= 0, `num_expected` is out of range.

    Source
    ------
    Successive sampling without replacement (Plackett and Luce), by enumeration of the states.

    Examples
    --------
    Two draws from one box of class 0 and three of class 1: 4/5 of class 0 expected.

    >>> counts, probability = class_count_distribution([1, 3], num_expected=2)
    >>> counts.tolist(), probability.round(3).tolist()
    ([[0, 2], [1, 1]], [0.2, 0.8])
    """
    # CHECKS
    size = int_array("class_sizes", class_sizes, low=0)
    if size.ndim != 1:
        raise SpecError(f"class_sizes: expected shape (C,), got {size.shape}")
    num_expected = count("num_expected", num_expected, low=0)

    # QUANTITIES OF THE PAPER
    states: dict[tuple[int, ...], float] = {(0,) * len(size): 1.0}
    for _ in range(min(num_expected, int(size.sum()))):
        states = _one_more(states, size.tolist())

    # RESULT
    reached = sorted(states)
    return np.array(reached, dtype=np.int64).reshape(len(reached), len(size)), np.array([states[s] for s in reached])


def foreground_balanced_probabilities(labels: ArrayLike, *, num_classes: int, num_expected: int) -> tuple[Float, Float]:
    r"""Exact probability of each candidate of one image, and of each pair, to be drawn.

    $\pi_i = \mathrm{E}[d_c] / n_c$; a pair of one class $\mathrm{E}[d_c (d_c - 1)] / (n_c (n_c - 1))$, of two
    $\mathrm{E}[d_a d_b] / (n_a n_b)$.

    Parameters
    ----------
    labels : int, shape (N,)
        As in `foreground_balanced_sampling`, of one image.
    num_classes, num_expected
        As there.

    Returns
    -------
    float64, shape (N,), and float64, shape (N, N)
        Of candidates, and of pairs; on the diagonal the candidates' own.

    Raises
    ------
    SpecError
        As `foreground_balanced_sampling`.

    Source
    ------
    `class_count_distribution`: inside a class every subset is equally likely.

    Examples
    --------
    Uniform sampling would draw each of the four with probability 0.5:

    >>> foreground_balanced_probabilities([0, 1, 1, 1], num_classes=2, num_expected=2)[0].round(3)
    array([0.8, 0.4, 0.4, 0.4])
    """
    # CHECKS
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes)
    if label.ndim != 1:
        raise SpecError(f"labels: expected shape (N,), got {label.shape}")

    # QUANTITIES OF THE PAPER
    foreground = (label >= 0) & (label < num_classes)
    _, place, size = np.unique(label[foreground], return_inverse=True, return_counts=True)
    counts, probability = class_count_distribution(size, num_expected=num_expected)
    mean = probability @ counts
    product = np.einsum("s,sa,sb->ab", probability, counts, counts)
    single_of_class = mean / size
    pairs_of_class = np.outer(size, size) - np.diag(size)
    pair_of_class = (product - np.diag(mean)) / np.maximum(pairs_of_class, 1)

    # RESULT
    single, pair = np.zeros(label.size), np.zeros((label.size, label.size))
    member = np.flatnonzero(foreground)
    single[member] = single_of_class[place]
    pair[np.ix_(member, member)] = pair_of_class[np.ix_(place, place)]
    np.fill_diagonal(pair, single)
    return single, pair


def _one_more(states: dict[tuple[int, ...], float], size: Sequence[int]) -> dict[tuple[int, ...], float]:
    """The law after one more draw."""
    after: dict[tuple[int, ...], float] = {}
    for drawn, probability in states.items():
        left = [1.0 - d / n if n else 0.0 for d, n in zip(drawn, size, strict=True)]
        for c, mass in enumerate(left):
            if drawn[c] < size[c]:
                reached = (*drawn[:c], drawn[c] + 1, *drawn[c + 1 :])
                after[reached] = after.get(reached, 0.0) + probability * mass / sum(left)
    return after
