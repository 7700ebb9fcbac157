r"""Focal loss on softmax outputs: one probability distribution over C classes and the background.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 3.2 and
footnote on the multi-class form; the foreground/background split of alpha as in Detectron.

The probability of the true class against all others together is a logistic function of the *margin*
$t = z_y - \log \sum_{k \ne y} e^{z_k}$. So the softmax form is the sigmoid form at $t$, and inherits its
accuracy: neither $\log p$ nor $\log(1 - p)$ is formed by a subtraction that cancels.
"""

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import Bool, Float, Int, SpecError, finite_array, label_array, optional_fraction
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_grad


def softmax_focal_loss(
    logits: ArrayLike, labels: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Float:
    r"""Softmax focal loss of every anchor, in nats.

    With $p = \mathrm{softmax}(z)_y$:

    $$ \mathrm{FL} = -\alpha_y \, (1 - p)^\gamma \, \log p $$

    where $\alpha_y = \alpha$ for a foreground label and $1 - \alpha$ for the background.

    Parameters
    ----------
    logits : float, shape (..., C + 1)
        $z$, finite; the last channel is the background.
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore.
    alpha : float in [0, 1] or None
        Weight of foreground anchors; None weighs all anchors 1.
    gamma : float >= 0
        Focusing exponent. At 0 this is weighted cross entropy.

    Returns
    -------
    float64, shape (...)
        0 for ignored anchors.

    Raises
    ------
    SpecError
        A shape does not fit, there are fewer than two channels, a logit is not finite, a label or parameter
        is out of range.

    Source
    ------
    Paper, section 3.2; alpha split: Detectron's softmax focal loss operator.

    Examples
    --------
    Equal logits over two classes and the background, label 0: $0.25 \cdot (2/3)^2 \cdot \ln 3$.

    >>> softmax_focal_loss([[0.0, 0.0, 0.0]], [0]).round(6)
    array([0.122068])
    """
    # CHECKS
    z, label = _logits_and_labels(logits, labels)
    alpha = optional_fraction("alpha", alpha)

    # QUANTITIES OF THE PAPER
    counted = label != -1
    margin = _margin(z, label)
    alpha_y = _alpha_y(label, alpha, background=z.shape[-1] - 1)

    # RESULT
    true = np.ones_like(label)
    return np.where(counted, alpha_y * sigmoid_focal_loss(margin, true, alpha=None, gamma=gamma), 0.0)


def softmax_focal_loss_grad(
    logits: ArrayLike, labels: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Float:
    r"""Derivative of `softmax_focal_loss` of each anchor with respect to its logits.

    By the chain rule through the margin $t$: $\partial t / \partial z_y = 1$ and, for $j \ne y$,
    $\partial t / \partial z_j = -e^{z_j} / \sum_{k \ne y} e^{z_k}$. The derivatives of an anchor sum to 0.

    Parameters, errors: as `softmax_focal_loss`. Returns float64, shape (..., C + 1).

    Source
    ------
    Paper, appendix B, equation 10, with the softmax's derivative.

    Examples
    --------
    >>> softmax_focal_loss_grad([[0.0, 0.0, 0.0]], [0]).sum().round(15) + 0.0
    np.float64(0.0)
    """
    # CHECKS
    z, label = _logits_and_labels(logits, labels)
    alpha = optional_fraction("alpha", alpha)

    # QUANTITIES OF THE PAPER
    counted = label != -1
    margin = _margin(z, label)
    alpha_y = _alpha_y(label, alpha, background=z.shape[-1] - 1)
    margin_by_logit = np.where(_is_true_class(z, label), 1.0, -_softmax_of_others(z, label))

    # RESULT
    true = np.ones_like(label)
    loss_by_margin = alpha_y * sigmoid_focal_loss_grad(margin, true, alpha=None, gamma=gamma)
    return np.where(counted[..., None], loss_by_margin[..., None] * margin_by_logit, 0.0)


def _logits_and_labels(logits: ArrayLike, labels: ArrayLike) -> tuple[Float, Int]:
    z = finite_array("logits", logits)
    if z.ndim == 0 or z.shape[-1] < 2:
        raise SpecError(f"logits: expected shape (..., C + 1) with C >= 1, got {z.shape}")
    return z, label_array("labels", labels, num_classes=z.shape[-1] - 1, shape=z.shape[:-1])


def _is_true_class(z: Float, label: Int) -> Bool:
    return label[..., None] == np.arange(z.shape[-1])


def _margin(z: Float, label: Int) -> Float:
    """Logit of the true class minus the log-sum-exp of the others; of an ignored anchor some number."""
    is_true_class = _is_true_class(z, label)
    others = np.where(is_true_class, -np.inf, z)
    highest = others.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference may pass the range of float64: its exponential is 0
        log_sum_exp = highest[..., 0] + np.log(np.exp(others - highest).sum(axis=-1))
        return np.where(is_true_class, z, 0.0).sum(axis=-1) - log_sum_exp


def _softmax_of_others(z: Float, label: Int) -> Float:
    """Softmax over all channels but the true one, which gets 0."""
    others = np.where(_is_true_class(z, label), -np.inf, z)
    with np.errstate(over="ignore"):
        shares = np.exp(others - others.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _alpha_y(label: Int, alpha: float | None, *, background: int) -> Float:
    if alpha is None:
        return np.ones(label.shape)
    return np.where(label == background, 1.0 - alpha, alpha)
