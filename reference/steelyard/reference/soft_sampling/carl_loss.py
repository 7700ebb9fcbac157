r"""CARL: a regression loss from which the classification scores learn how well a box is located.

Source: Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821);
the first author's code in mmdet (`carl_loss`).

The regression loss of a positive is weighed by a share that grows with the score of its true class, and the gradient
flows into the score, through the share's normaliser too. A sample that is located worse than the weighted mean gets
its score pushed down, the others up. It stands as a third loss beside the ordinary regression loss.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    finite_array,
    float_array,
    fraction,
    label_array,
    non_negative,
    one_of,
    positive,
)
from steelyard.reference.logistic import log_sigmoid, sigmoid
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss, softmax_focal_loss_grad

ACTIVATIONS = ("softmax", "sigmoid")
_LOWEST = -np.finfo(np.float64).max  # log p in place of minus infinity, where logits differ by more than float64 holds


def classification_aware_regression_weights(
    logits: ArrayLike, labels: ArrayLike, *, activation: str = "softmax", k: float = 1.0, b: float = 0.2
) -> Float:
    r"""Share of every positive in the classification-aware regression loss.

    With the score $p_i$ of the true class and the number $n$ of positives in the mini-batch:

    $$ v_i = ((1 - b) p_i + b)^k, \qquad c_i = \frac{v_i}{\frac{1}{n} \sum_m v_m} $$

    Parameters
    ----------
    logits : float, shape (..., C + 1) for softmax, (..., C) for sigmoid
        $z$, finite where the label is of the foreground. The background is the last channel of softmax.
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore. Positives are those of the foreground.
    activation : "softmax" or "sigmoid"
        What makes scores of logits.
    k : float >= 0
        Exponent (authors' code: 1). At 0 all shares are 1.
    b : float in [0, 1]
        Share of score 0 in proportion to that of score 1, before the power (authors' code: 0.2).

    Returns
    -------
    float64, shape (...)
        $c_i$ for positives, 0 elsewhere. They sum to $n$, whatever the logits; no two differ by more than a factor
        $b^{-k}$.

    Raises
    ------
    SpecError
        A shape does not fit, a label or parameter is out of range, a logit of a positive is not finite.

    Source
    ------
    Paper, on CARL. Ruling: where every $p_i$ is 0 and $b = 0$, $c_i = 1$.

    Examples
    --------
    Scores 3/4 and 1/4 with b = 0: in proportion 3 to 1.

    >>> x = np.log(3.0)
    >>> classification_aware_regression_weights([[x], [-x]], [0, 0], activation="sigmoid", b=0.0).round(12)
    array([1.5, 0.5])
    """
    # CHECKS
    positives, label = _positives(logits, labels, activation)
    k, b = non_negative("k", k), fraction("b", b)

    # RESULT
    weights = np.zeros(label.shape)
    weights[positives.where] = _shares(_log_scores(positives, activation), k, b)
    return weights


def classification_aware_regression_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    regression_losses: ArrayLike,
    *,
    activation: str = "softmax",
    k: float = 1.0,
    b: float = 0.2,
    avg_factor: float | None = None,
) -> float:
    r"""Classification-aware regression loss of a mini-batch.

    With the shares $c_i$ of `classification_aware_regression_weights`, which are *not* constants, and the
    regression losses $\ell_i$:

    $$ L_{carl} = \frac{1}{A} \sum_i c_i \, \ell_i $$

    Parameters
    ----------
    logits, labels, activation, k, b
        As in `classification_aware_regression_weights`.
    regression_losses : float, shape (...) or (..., 4)
        $\ell_i$; with one loss a coordinate, their sum. Only those of positives are looked at, which are finite.
    avg_factor : float > 0 or None
        A, by which the regression loss of the detector is divided. None: the samples of the mini-batch, background
        among them and ignored ones left out, at least 1 (two-stage detectors). One-stage detectors give the number
        of positives.

    Returns
    -------
    float
        0 without positives.

    Raises
    ------
    SpecError
        As `classification_aware_regression_weights`, or the loss of a positive is not finite.

    Source
    ------
    Paper, on CARL; mmdet `carl_loss`. Ruling: A as in the authors' code.

    Examples
    --------
    Scores 1/2 and 1/2: both have the share 1, and the loss is the mean.

    >>> classification_aware_regression_loss([[0.0], [0.0]], [0, 0], [0.5, 1.0], activation="sigmoid")
    0.75
    """
    # CHECKS
    positives, label = _positives(logits, labels, activation)
    loss = _losses_of_positives(regression_losses, positives.where)
    k, b = non_negative("k", k), fraction("b", b)

    # QUANTITIES OF THE PAPER
    c = _shares(_log_scores(positives, activation), k, b)

    # RESULT
    return float((c * loss).sum() / _average_factor(avg_factor, label))


def classification_aware_regression_loss_grad_logits(
    logits: ArrayLike,
    labels: ArrayLike,
    regression_losses: ArrayLike,
    *,
    activation: str = "softmax",
    k: float = 1.0,
    b: float = 0.2,
    avg_factor: float | None = None,
) -> Float:
    r"""Derivative of `classification_aware_regression_loss` with respect to the logits.

    With the weighted mean $\bar\ell = \frac1n \sum_m c_m \ell_m$ and $y$ the true class:

    $$ \frac{\partial L}{\partial z_{ij}} = \frac{c_i}{A} \, (\ell_i - \bar\ell) \,
       \frac{k (1 - b) p_i}{(1 - b) p_i + b} \, \frac{\partial \log p_i}{\partial z_{ij}},
       \qquad \frac{\partial \log p_i}{\partial z_{ij}} = [j = y_i] - p_{ij} $$

    for softmax; for sigmoid the last factor is $1 - p_i$ at $j = y_i$ and 0 elsewhere.

    Parameters, errors: as `classification_aware_regression_loss`. Returns float64, shape of `logits`; 0 for samples
    that are not positive.

    Source
    ------
    Paper, on CARL, with $c_i$ differentiated as a whole.

    Examples
    --------
    p = 1/2 and c = 1 for both; 1/2 times -+1/4, times 2/3, times 1/2.

    >>> losses = [0.5, 1.0]
    >>> classification_aware_regression_loss_grad_logits([[0.0], [0.0]], [0, 0], losses, activation="sigmoid").round(6)
    array([[-0.041667],
           [ 0.041667]])
    """
    # CHECKS
    positives, label = _positives(logits, labels, activation)
    loss = _losses_of_positives(regression_losses, positives.where)
    k, b = non_negative("k", k), fraction("b", b)

    # QUANTITIES OF THE PAPER
    log_p = _log_scores(positives, activation)
    c = _shares(log_p, k, b)
    weighted_mean = (c * loss / len(c)).sum()
    log_v_by_log_p = k * _score_part_of_mixture(log_p, b)
    by_log_p = c * (loss - weighted_mean) * log_v_by_log_p / _average_factor(avg_factor, label)

    # RESULT
    gradient = np.zeros(np.shape(logits))
    gradient[positives.where] = by_log_p[:, None] * _log_scores_by_logit(positives, activation)
    return gradient


def classification_aware_regression_loss_grad_regression_losses(
    logits: ArrayLike,
    labels: ArrayLike,
    regression_losses: ArrayLike,
    *,
    activation: str = "softmax",
    k: float = 1.0,
    b: float = 0.2,
    avg_factor: float | None = None,
) -> Float:
    r"""Derivative of `classification_aware_regression_loss` with respect to the regression losses: $c_i / A$.

    Parameters, errors: as `classification_aware_regression_loss`. Returns float64, shape of `regression_losses`.

    Source
    ------
    Paper, on CARL.

    Examples
    --------
    >>> logits, labels, losses = [[0.0], [0.0]], [0, 0], [0.5, 1.0]
    >>> classification_aware_regression_loss_grad_regression_losses(logits, labels, losses, activation="sigmoid")
    array([0.5, 0.5])
    """
    # CHECKS
    positives, label = _positives(logits, labels, activation)
    _losses_of_positives(regression_losses, positives.where)
    k, b = non_negative("k", k), fraction("b", b)

    # QUANTITIES OF THE PAPER
    c = _shares(_log_scores(positives, activation), k, b)

    # RESULT
    gradient = np.zeros(np.shape(regression_losses))
    of_positives = gradient[positives.where]
    gradient[positives.where] = c.reshape(-1, *(1,) * (of_positives.ndim - 1)) / _average_factor(avg_factor, label)
    return gradient


class _Positives(NamedTuple):
    """The positives of the mini-batch, P in number."""

    logits: Float
    """Shape (P, C + 1) or (P, C)."""
    labels: Int
    """Shape (P,)."""
    where: Bool
    """Shape (...): which samples they are."""


def _shares(log_p: Float, k: float, b: float) -> Float:
    """Shape (P,): c. In logarithms: with b = 0 every v may be below the smallest float, but not their ratios."""
    log_mixture = _log_mixture(log_p, b)
    with np.errstate(over="ignore"):  # a product may pass the range of float64: its exponential is 0
        v = np.exp(k * (log_mixture - log_mixture.max(initial=_LOWEST)))
    return v * len(v) / v.sum()


def _log_mixture(log_p: Float, b: float) -> Float:
    r"""Shape (P,): $\log((1 - b) p + b)$."""
    with np.errstate(divide="ignore"):  # of b = 0 and of b = 1 one part is 0
        return np.logaddexp(log_p + np.log1p(-b), np.log(b))


def _score_part_of_mixture(log_p: Float, b: float) -> Float:
    r"""Shape (P,): $(1 - b) p / ((1 - b) p + b)$, the derivative of $\log((1 - b) p + b)$ by $\log p$."""
    with np.errstate(divide="ignore"):  # of b = 1 it is 0
        return np.exp(log_p + np.log1p(-b) - _log_mixture(log_p, b))


def _log_scores(positives: _Positives, activation: str) -> Float:
    r"""Shape (P,): $\log p$ of the true class."""
    z, label = positives.logits, positives.labels
    if activation == "softmax":  # the focal loss at gamma = 0 is the cross entropy
        return np.maximum(-softmax_focal_loss(z, label, alpha=None, gamma=0.0), _LOWEST)
    return log_sigmoid(z[np.arange(len(z)), label])


def _log_scores_by_logit(positives: _Positives, activation: str) -> Float:
    r"""Shape of the logits: derivative of $\log p$ with respect to them."""
    z, label = positives.logits, positives.labels
    if activation == "softmax":
        return -softmax_focal_loss_grad(z, label, alpha=None, gamma=0.0)
    return np.where(label[:, None] == np.arange(z.shape[1]), sigmoid(-z), 0.0)


def _positives(logits: ArrayLike, labels: ArrayLike, activation: str) -> tuple[_Positives, Int]:
    """Checks of arguments: the positives and all labels."""
    z = float_array("logits", logits)
    background = 1 if one_of("activation", activation, ACTIVATIONS) == "softmax" else 0
    if z.ndim == 0 or z.shape[-1] < 1 + background:
        raise SpecError(f"logits: expected shape (..., C{' + 1' if background else ''}) with C >= 1, got {z.shape}")
    num_classes = z.shape[-1] - background
    label = label_array("labels", labels, num_classes=num_classes, shape=z.shape[:-1])
    is_positive = (label >= 0) & (label < num_classes)
    finite_array("logits of positives", z[is_positive])
    return _Positives(z[is_positive], label[is_positive], is_positive), label


def _losses_of_positives(losses: ArrayLike, is_positive: Bool) -> Float:
    """Check of an argument: one loss a positive, or one a coordinate, which are summed."""
    array = float_array("regression_losses", losses)
    shape = is_positive.shape
    if array.shape[: len(shape)] != shape or array.ndim > len(shape) + 1:
        raise SpecError(f"regression_losses: expected shape {shape} or {(*shape, 4)}, got {array.shape}")
    of_positives = finite_array("regression_losses of positives", array[is_positive])
    return of_positives if array.ndim == len(shape) else of_positives.sum(axis=-1)


def _average_factor(avg_factor: float | None, label: Int) -> float:
    return max(1.0, float((label != -1).sum())) if avg_factor is None else positive("avg_factor", avg_factor)
