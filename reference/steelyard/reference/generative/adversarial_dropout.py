r"""Adversarial spatial dropout: which cells an adversary blocks, what it is rewarded for, how its masks are learnt.

Source: Wang, Shrivastava, Gupta, "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection", CVPR 2017
(arXiv 1704.03414), section 4.1; the authors' code (``roi_data_layer/layer.py``, its configuration).

The adversary is a network that gives each cell of a positive's pooled features a probability of being blocked. What
surrounds the network is specified here: the random mask drawn of its probabilities, the reward, the loss of its logits.
The labels of its pre-training come from `steelyard.reference.generative.hardest_window`.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    SpecError,
    binary_array,
    bool_array,
    count,
    finite_array,
    fraction,
    fraction_array,
    key_array,
    label_array,
)
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys
from steelyard.reference.logistic import sigmoid, softplus


def adversarial_dropout_mask(
    probabilities: ArrayLike,
    labels: ArrayLike,
    keys: ArrayLike,
    *,
    num_classes: int,
    num_candidates: int = 20,
    num_dropped: int = 15,
) -> Bool:
    r"""Draw the cells of each positive that are blocked: $q$ of the $m$ that the adversary would block first.

    Of the $m$ cells with the highest probabilities (of equal ones the first, row by row) those $q$ with the smallest
    keys. So with uniform keys each of the $m$ is blocked with probability $q/m$, two of them together with
    $q(q-1) / (m(m-1))$, and no other.

    Parameters
    ----------
    probabilities : float in [0, 1], shape (P, D, D)
        The adversary's.
    labels : int, shape (P,)
        0..C-1 foreground, C background, -1 ignore.
    keys : float in [0, 1), shape of `probabilities`
        One random number a cell.
    num_classes : int >= 1
        C.
    num_candidates : int >= 0
        $m$; a grid of fewer cells has all of them as candidates.
    num_dropped : int in [0, num_candidates]
        $q$; of a grid of fewer cells all are blocked.

    Returns
    -------
    bool, shape (P, D, D)
        True = blocked; none of what is not foreground.

    Raises
    ------
    SpecError
        Shapes differ, a number is out of its range.

    Source
    ------
    The code: 15 of the first 20 of 49 cells. The paper: the first half, of which a third is set to 0; 15 of 49 is a
    third of all. Ruling: the features that are left are not rescaled; negatives are untouched, as in the configuration.

    Examples
    --------
    >>> p = [[[0.9, 0.1], [0.8, 0.7]]]
    >>> keys = [[[0.6, 0.0], [0.2, 0.4]]]
    >>> adversarial_dropout_mask(p, [0], keys, num_classes=20, num_candidates=3, num_dropped=2).astype(int)
    array([[[0, 0],
            [1, 1]]])
    """
    # CHECKS
    probability = fraction_array("probabilities", probabilities)
    _check_grid("probabilities", probability)
    num_classes = count("num_classes", num_classes)
    label = label_array("labels", labels, num_classes=num_classes, shape=probability.shape[:1])
    key = key_array("keys", keys, shape=probability.shape)
    num_candidates = count("num_candidates", num_candidates, low=0)
    num_dropped = count("num_dropped", num_dropped, low=0)
    if num_dropped > num_candidates:
        raise SpecError(f"num_dropped: expected an int in [0, {num_candidates}], the candidates, got {num_dropped}")

    # QUANTITIES OF THE PAPER
    blocked = np.zeros(probability.shape, dtype=np.bool_)
    for i, y in enumerate(label):
        if 0 <= y < num_classes:
            everywhere = np.ones(probability[i].size, dtype=np.bool_)
            candidates = smallest_keys(-probability[i].ravel(), everywhere, num_candidates)
            blocked[i] = smallest_keys(key[i].ravel(), candidates, num_dropped).reshape(blocked[i].shape)

    # RESULT
    return blocked


def adversarial_dropout_probabilities(
    probabilities: ArrayLike, *, num_candidates: int = 20, num_dropped: int = 15
) -> tuple[Float, Float]:
    r"""Exact probability of each cell of one positive, and of each pair, to be blocked by `adversarial_dropout_mask`.

    Parameters
    ----------
    probabilities : float in [0, 1], shape (D, D)
        The adversary's, of one positive.
    num_candidates, num_dropped
        As there.

    Returns
    -------
    float64, shape (N,), and float64, shape (N, N)
        Of the $N = D^2$ cells, row by row, and of pairs; on the diagonal the cells' own.

    Raises
    ------
    SpecError
        As `adversarial_dropout_mask`.

    Source
    ------
    The hypergeometric law of a draw without replacement.

    Examples
    --------
    >>> single, pair = adversarial_dropout_probabilities([[0.9, 0.1], [0.8, 0.7]], num_candidates=3, num_dropped=2)
    >>> single.round(3), float(pair[0, 2].round(3))
    (array([0.667, 0.   , 0.667, 0.667]), 0.333)
    """
    # CHECKS
    probability = fraction_array("probabilities", probabilities)[np.newaxis]
    candidate = adversarial_dropout_mask(
        probability, [0], np.zeros(probability.shape), num_classes=1,
        num_candidates=num_candidates, num_dropped=num_candidates,
    ).ravel()  # fmt: skip
    q = min(count("num_dropped", num_dropped, low=0), candidate.size)

    # QUANTITIES OF THE PAPER
    m = int(candidate.sum())
    one = q / max(m, 1)
    two = q * (q - 1) / max(m * (m - 1), 1)

    # RESULT
    single = np.where(candidate, one, 0.0)
    pair = np.where(np.outer(candidate, candidate), two, 0.0)
    np.fill_diagonal(pair, single)
    return single, pair


def dropout_is_rewarded(
    before: ArrayLike, after: ArrayLike, labels: ArrayLike, *, num_classes: int, margin: float = 0.1
) -> Bool:
    r"""Which masks deserve to be learnt: those that took more than the margin off the probability of the true class.

    Foreground with $p_{before} - p_{after} > margin$.

    Parameters
    ----------
    before, after : float in [0, 1], shape (P,)
        Probability of the true class without and with the mask.
    labels : int, shape (P,)
        0..C-1 foreground, C background, -1 ignore.
    num_classes : int >= 1
        C.
    margin : float in [0, 1]

    Returns
    -------
    bool, shape (P,)

    Raises
    ------
    SpecError
        Shapes differ, a number is out of its range.

    Source
    ------
    The code's joint training; the paper's "only those hard masks that lead to significant drops". Ruling: a drop equal
    to the margin is not above it.

    Examples
    --------
    >>> dropout_is_rewarded([0.92, 0.5, 0.92], [0.35, 0.45, 0.35], [3, 3, 20], num_classes=20)
    array([ True, False, False])
    """
    # CHECKS
    first = fraction_array("before", before)
    if first.ndim != 1:
        raise SpecError(f"before: expected shape (P,), got {first.shape}")
    second = fraction_array("after", after, shape=first.shape)
    num_classes, margin = count("num_classes", num_classes), fraction("margin", margin)
    label = label_array("labels", labels, num_classes=num_classes, shape=first.shape)

    # RESULT
    return (label >= 0) & (label < num_classes) & (first - second > margin)


def dropout_mask_loss(logits: ArrayLike, targets: ArrayLike, rewarded: ArrayLike) -> Float:
    r"""Loss of the adversary: binary cross entropy of its cells, of the rewarded RoIs, over the cells of all.

    $$ L = \frac{1}{n} \sum_{rewarded} \big[ \ln(1 + e^{-|f|}) + (\mathbb{1}[f > 0] - t) f \big], \qquad n = P D^2. $$

    Parameters
    ----------
    logits : finite float, shape (P, D, D)
        $f$.
    targets : bool or 0/1, shape of `logits`
        $t$: the mask to be learnt, from the search or from the adversary's own draw.
    rewarded : bool, shape (P,)
        RoIs that take part: all positives in pre-training, later `dropout_is_rewarded`.

    Returns
    -------
    float64, shape ()
        0 without RoIs.

    Raises
    ------
    SpecError
        Shapes do not fit, a logit is not finite, a target is not 0 or 1.

    Source
    ------
    The code's loss layers. Ruling: n counts all RoIs, also those without a reward, as there. The layers can weigh cells
    of target 0 down at random in the gradient alone; then it is the gradient of another function, and not ours.

    Examples
    --------
    Four cells of logit 0: ln 2 each. Half of the RoIs are rewarded.

    >>> float(dropout_mask_loss([[[0.0]], [[0.0]]], [[[1]], [[0]]], [True, False]).round(6))
    0.346574
    """
    # CHECKS
    f, sign, taken = _loss_arrays(logits, targets, rewarded)

    # RESULT
    return np.asarray(np.where(taken, softplus(-sign * f), 0.0).sum() / max(f.size, 1))


def dropout_mask_loss_grad(logits: ArrayLike, targets: ArrayLike, rewarded: ArrayLike) -> Float:
    r"""Derivative of `dropout_mask_loss` by the logits: $(\sigma(f) - t) / n$ of the rewarded RoIs, 0 of the others.

    Parameters, errors: as `dropout_mask_loss`. Returns float64, shape of `logits`.

    Source
    ------
    The derivative of `dropout_mask_loss`: that of the logistic loss, over the number of cells.

    Examples
    --------
    >>> dropout_mask_loss_grad([[[0.0]], [[0.0]]], [[[1]], [[0]]], [True, False]).ravel()
    array([-0.25,  0.  ])
    """
    # CHECKS
    f, sign, taken = _loss_arrays(logits, targets, rewarded)

    # RESULT
    return np.where(taken, -sign * sigmoid(-sign * f), 0.0) / f.size


def _loss_arrays(logits: ArrayLike, targets: ArrayLike, rewarded: ArrayLike) -> tuple[Float, Float, Bool]:
    """Logits, signs (1 for target 1, -1 for target 0), and which RoIs take part, (P, 1, 1)."""
    f = finite_array("logits", logits)
    _check_grid("logits", f)
    sign = np.where(binary_array("targets", targets, shape=f.shape) == 1, 1.0, -1.0)
    return f, sign, bool_array("rewarded", rewarded, shape=f.shape[:1])[:, np.newaxis, np.newaxis]


def _check_grid(name: str, array: Float) -> None:
    if array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise SpecError(f"{name}: expected shape (P, D, D), got {array.shape}")
