r"""Seesaw loss: a rare class is punished less by the samples of frequent ones, and more where it is over-scored.

Source: Wang, Zhang, Zang, Cao, Pang, Gong, Chen, Liu, Loy, Lin, "Seesaw Loss for Long-Tailed Instance Segmentation",
CVPR 2021 (arXiv 2008.10032), and its authors' program (MMDetection's `SeesawLoss`).

A sample of class $i$ pushes the scores of all other classes down. Where $i$ is frequent and $j$ is rare, $j$ is pushed
down so often that it is hardly ever predicted. The loss tips the scales class by class: the *mitigation* factor makes
the push smaller the rarer $j$ is, the *compensation* factor makes it larger where $j$ has a higher score than $i$, for
then the push is needed. Whether there is an object at all is a loss of its own, of two more channels.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, finite_array, fraction, label_array, non_negative
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad


def seesaw_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    p: float = 0.8,
    q: float = 2.0,
    epsilon: float | None = 0.01,
) -> Float:
    r"""Seesaw loss of every sample, in nats.

    With $\sigma = \mathrm{softmax}(z)$, a constant here, and $N_c$ the counts, of which none is less than 1: for a
    sample of class $i$

    $$ M_{ij} = \min\Big(1, \frac{N_j}{N_i}\Big)^p, \qquad
       C_{ij} = \max\Big(1, \frac{\sigma_j}{\max(\sigma_i, \epsilon)}\Big)^q, \qquad S_{ij} = M_{ij} \, C_{ij} $$

    $$ L = -\log \frac{e^{z_i}}{e^{z_i} + \sum_{j \ne i} S_{ij} \, e^{z_j}} $$

    Parameters
    ----------
    logits : float, shape (R, C)
        $z$, finite; one channel a foreground class.
    labels : int, shape (R,)
        0..C-1 foreground, C background, -1 ignore.
    counts : float >= 0, shape (C,)
        $N_c$, samples of each class that training has seen up to and with this mini-batch.
    p : float >= 0
        Mitigation; 0 is off.
    q : float >= 0
        Compensation; 0 is off.
    epsilon : float in [0, 1] or None
        Floor of $\sigma_i$ as a divisor; None is the paper, which has no floor.

    Returns
    -------
    float64, shape (R,)
        0 for background and ignored samples: their classes say nothing.

    Raises
    ------
    SpecError
        A shape does not fit, there are fewer than two classes, a logit is not finite, a label, count or parameter is
        out of range.

    Source
    ------
    Paper, seesaw loss with its mitigation and compensation factors. Rulings: the floor is the authors' program's; the
    counts have the mini-batch in them (same); a class that was never seen counts as one sample (same).

    Examples
    --------
    Equal scores: only the counts tip the scales. A sample of the class seen 16 times, the other one seen once:
    $\ln(1 + 1/16)$; the other way round $\ln 2$.

    >>> seesaw_loss([[0.0, 0.0], [0.0, 0.0]], [0, 1], [16, 1], p=1.0).round(6)
    array([0.060625, 0.693147])
    """
    # CHECKS
    z, label, log_factor = _checked(logits, labels, counts, p, q, epsilon)

    # RESULT
    return softmax_focal_loss(z + log_factor, label, alpha=None, gamma=0.0)


def seesaw_loss_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    p: float = 0.8,
    q: float = 2.0,
    epsilon: float | None = 0.01,
) -> Float:
    r"""Derivative of `seesaw_loss` of each sample with respect to its logits.

    With $\tilde\sigma = \mathrm{softmax}(z + \log S_i)$ and $S$ a constant,

    $$ \frac{\partial L}{\partial z_k} = \tilde\sigma_k - [k = i] $$

    Parameters, errors: as `seesaw_loss`. Returns float64, shape (R, C); 0 for background and ignored samples.

    Source
    ------
    Paper, the derivative that shows how the factors scale the push.

    Examples
    --------
    >>> seesaw_loss_grad([[0.0, 0.0]], [0], [16, 1], p=1.0).round(6)
    array([[-0.058824,  0.058824]])
    """
    # CHECKS
    z, label, log_factor = _checked(logits, labels, counts, p, q, epsilon)

    # RESULT
    return softmax_focal_loss_grad(z + log_factor, label, alpha=None, gamma=0.0)


def _checked(
    logits: ArrayLike, labels: ArrayLike, counts: ArrayLike, p: float, q: float, epsilon: float | None
) -> tuple[Float, Int, Float]:
    """Logits, labels with -1 for all that has no class, and the logarithms of the factors, (R, C)."""
    z = finite_array("logits", logits)
    if z.ndim != 2 or z.shape[1] < 2:
        raise SpecError(f"logits: expected shape (R, C) with C >= 2, got {z.shape}")
    label = label_array("labels", labels, num_classes=z.shape[1], shape=z.shape[:1])
    label = np.where(label == z.shape[1], -1, label)
    count = finite_array("counts", counts, shape=z.shape[1:])
    if np.any(count < 0.0):
        raise SpecError(f"counts: expected numbers >= 0, got {count.min()}")
    p, q = non_negative("p", p), non_negative("q", q)
    floor = 0.0 if epsilon is None else fraction("epsilon", epsilon)

    return z, label, _log_mitigation(label, count, p) + _log_compensation(z, label, q, floor)


def _log_mitigation(label: Int, counts: Float, p: float) -> Float:
    r"""$p \min(0, \log N_j - \log N_i)$; of samples without a class some number."""
    log_count = np.log(np.maximum(counts, 1.0))
    return p * np.minimum(0.0, log_count - log_count[label][:, np.newaxis])


def _log_compensation(z: Float, label: Int, q: float, floor: float) -> Float:
    r"""$q \max(0, \log \sigma_j - \log \max(\sigma_i, \epsilon))$, for j = i 0; without a class some number."""
    log_score = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    own = log_score[np.arange(len(label)), label]
    with np.errstate(divide="ignore"):
        divisor = np.maximum(own, np.log(floor))
    return q * np.maximum(0.0, log_score - divisor[:, np.newaxis])
