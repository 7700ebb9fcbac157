r"""Class-balanced loss: every sample weighs by the effective number of samples of its class.

Source: Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019 (arXiv
1901.05555), and its authors' program (richardaecn/class-balanced-loss).

The more samples a class has, the more a further one overlaps with those before: the weights grow slower than $1/n$
towards the rare classes, and $\beta$ says by how much.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Float, Int, SpecError, finite_array, int_array, non_negative, one_of
from steelyard.reference.detection.imbalance_indices import effective_number
from steelyard.reference.soft_sampling.focal_loss import (
    sigmoid_focal_loss_with_labels,
    sigmoid_focal_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad

KINDS = ("softmax", "sigmoid", "focal")


def class_balanced_weights(counts: ArrayLike, *, beta: float = 0.999) -> Float:
    r"""Weight of every class, inverse to its effective number of samples.

    With $E_\beta(n)$ of `effective_number` and $C'$ the number of classes that occur,

    $$ \alpha_c = C' \, \frac{1 / E_\beta(n_c)}{\sum_{k : n_k > 0} 1 / E_\beta(n_k)}, $$

    so that the weights of the classes that occur have the mean 1.

    Parameters
    ----------
    counts : float >= 0, shape (C,)
        $n_c$, samples of each class in the training set (not in the mini-batch).
    beta : float in [0, 1]
        Paper: 0.9, 0.99, 0.999, 0.9999. 0: all weights are 1; 1, the limit: weights inverse to the counts.

    Returns
    -------
    float64 >= 0, shape (C,)
        0 for a class that does not occur.

    Raises
    ------
    SpecError
        The counts are not one axis of at least one finite number >= 0, beta is not in [0, 1].

    Source
    ------
    Paper, section 4 and appendix. Rulings: a class without samples has the weight 0 and is not in the sum (the
    authors' program divides by 0); beta = 1 is its limit (there 0/0).

    Examples
    --------
    Inverse to 1 and 1 + 1/2 + 1/4, with the sum 2; then inverse to 1 and 3.

    >>> class_balanced_weights([1, 3, 0], beta=0.5).round(4)
    array([1.2727, 0.7273, 0.    ])
    >>> class_balanced_weights([1, 3], beta=1.0)
    array([1.5, 0.5])
    """
    # CHECKS
    effective = effective_number(counts, beta=beta)

    # QUANTITIES OF THE PAPER
    if not effective.any():
        return effective
    inverse = 1.0 / np.where(effective > 0.0, effective, np.inf)  # 0 for a class that does not occur

    # RESULT
    return inverse * (np.count_nonzero(inverse) / inverse.sum())


def class_balanced_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    kind: str = "softmax",
    beta: float = 0.999,
    gamma: float = 2.0,
) -> Float:
    r"""Mean over the samples of their loss times the weight of their class, in nats.

    With $\alpha$ of `class_balanced_weights`, over the R samples that are not ignored:

    $$ \mathrm{CB} = \frac{1}{R} \sum_i \alpha_{y_i} \, \ell_i $$

    where $\ell_i$ is $-\log \mathrm{softmax}(z_i)_{y_i}$ ("softmax"), or the sum over the channels of
    $-(1 - p_t)^\gamma \log p_t$ of the sigmoid outputs ("focal"), $\gamma = 0$ ("sigmoid"). The weight of the *true*
    class multiplies all channels of its sample.

    Parameters
    ----------
    logits : float, shape (R, C)
        $z$, finite. "softmax" needs two channels.
    labels : int, shape (R,)
        $y$, 0..C-1; -1 ignore. A background that is to be learned as a class is one of the C and has a count.
    counts : float >= 0, shape (C,)
        $n_c$, samples of each class in the training set. Samples of a class that has none weigh 0.
    kind : "softmax", "sigmoid" or "focal"
    beta : float in [0, 1]
        As in `class_balanced_weights`.
    gamma : float >= 0
        Focusing exponent of "focal" (paper: 0.5, 1, 2); the other kinds have none.

    Returns
    -------
    float64, shape ()
        0 without samples.

    Raises
    ------
    SpecError
        A shape does not fit, a logit is not finite, a label, count or parameter is out of range.

    Source
    ------
    Paper, equations 4 to 8. Rulings: the sum is divided by the number of samples, not by the sum of their weights
    (as a weighted mean would), and not by the number of channels; "focal" has no further alpha.

    Examples
    --------
    Equal logits of two classes: the losses are both ln 2, the weights 3/2 and 1/2.

    >>> float(class_balanced_loss([[0.0, 0.0], [0.0, 0.0]], [0, 1], [1, 3], beta=1.0).round(6))
    0.693147
    >>> float(class_balanced_loss([[0.0, 0.0], [0.0, 0.0]], [0, 0], [1, 3], beta=1.0).round(6))
    1.039721
    """
    # CHECKS
    z, label = _logits_and_labels(logits, labels, one_of("kind", kind, KINDS))
    gamma = non_negative("gamma", gamma)

    # QUANTITIES OF THE PAPER
    weight = _weights_of_samples(label, counts, num_classes=z.shape[1], beta=beta)
    if kind == "softmax":
        loss = softmax_focal_loss(z, label, alpha=None, gamma=0.0)
    else:
        loss = sigmoid_focal_loss_with_labels(z, label, alpha=None, gamma=_focusing(kind, gamma)).sum(axis=1)

    # RESULT
    return np.asarray((weight * loss).sum() / _number_of_samples(label))


def class_balanced_loss_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    kind: str = "softmax",
    beta: float = 0.999,
    gamma: float = 2.0,
) -> Float:
    r"""Derivative of `class_balanced_loss` with respect to every logit.

    $\alpha_{y_i} / R$ times the derivative of the sample's own loss; the weights are constants.

    Parameters, errors: as `class_balanced_loss`. Returns float64, shape (R, C); 0 for ignored samples.

    Source
    ------
    Paper, section 4.

    Examples
    --------
    A sample of the class with weight 3/2 at probability 1/2; another one is ignored.

    >>> class_balanced_loss_grad([[0.0, 0.0], [0.0, 0.0]], [0, -1], [1, 3], beta=1.0) + 0.0
    array([[-0.75,  0.75],
           [ 0.  ,  0.  ]])
    """
    # CHECKS
    z, label = _logits_and_labels(logits, labels, one_of("kind", kind, KINDS))
    gamma = non_negative("gamma", gamma)

    # QUANTITIES OF THE PAPER
    weight = _weights_of_samples(label, counts, num_classes=z.shape[1], beta=beta)
    if kind == "softmax":
        slope = softmax_focal_loss_grad(z, label, alpha=None, gamma=0.0)
    else:
        slope = sigmoid_focal_loss_with_labels_grad(z, label, alpha=None, gamma=_focusing(kind, gamma))

    # RESULT
    return weight[:, np.newaxis] * slope / _number_of_samples(label)


def _logits_and_labels(logits: ArrayLike, labels: ArrayLike, kind: str) -> tuple[Float, Int]:
    z = finite_array("logits", logits)
    if z.ndim != 2 or z.shape[1] < (2 if kind == "softmax" else 1):
        raise SpecError(f"logits: expected shape (R, C), C >= 1, for softmax C >= 2, got {z.shape}")
    return z, int_array("labels", labels, low=-1, high=z.shape[1] - 1, shape=z.shape[:1])


def _weights_of_samples(label: Int, counts: ArrayLike, *, num_classes: int, beta: float) -> Float:
    of_class = class_balanced_weights(counts, beta=beta)
    if of_class.shape != (num_classes,):
        raise SpecError(f"counts: expected shape {(num_classes,)}, got {of_class.shape}")
    return of_class[label]  # of an ignored sample that of the last class: it multiplies a loss of 0


def _number_of_samples(label: Int) -> int:
    number: int = (label >= 0).sum()
    return max(number, 1)


def _focusing(kind: str, gamma: float) -> float:
    return gamma if kind == "focal" else 0.0
