r"""GHM-C: sigmoid cross entropy in which every stretch of gradient norm has the same say.

Source: Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equations 3
to 13; the authors' code (libuyu/GHM_Detection). The review of Oksuz et al. states it as a weight that is
inverse to the number of boxes of similar gradient norm.

Every pair of an anchor and a class channel is one example. Its gradient norm $g = |p - y|$ says how wrong it
is; the density of examples around $g$ (`gradient_density`) says how common that is; the weight $\beta$ is
inverse to the density. The crowd of easy negatives is weighed down, and so is the crowd of outliers that no
detector can learn. The weight is a constant for the gradient: density is measured, not optimised.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    Int,
    SpecError,
    binary_array,
    float_array,
    label_array,
    mask_array,
    one_of,
)
from steelyard.reference.logistic import log_sigmoid, sigmoid
from steelyard.reference.soft_sampling.gradient_density import (
    harmonized_mean_terms,
    harmonizing_weights,
    unit_region_weights,
)

REDUCTIONS = ("sum", "none")


class GHMLoss(NamedTuple):
    """What the GHM losses return."""

    loss: Float | np.float64
    state: Float


def cross_entropy_gradient_norm(logits: ArrayLike, targets: ArrayLike) -> Float:
    r"""Gradient norm of every example under sigmoid cross entropy: $g = |\sigma(x) - y|$.

    Parameters
    ----------
    logits : float, shape (...)
        $x$, any value. NaN gives NaN.
    targets : int or bool, shape of `logits`
        $y$, each 0 or 1.

    Returns
    -------
    float64 in [0, 1], shape of `logits`

    Raises
    ------
    SpecError
        Shapes differ, a target is not 0 or 1.

    Source
    ------
    Paper, equation 3.

    Examples
    --------
    >>> cross_entropy_gradient_norm([0.0, 3.0, 3.0], [1, 0, 1]).round(6)
    array([0.5     , 0.952574, 0.047426])
    """
    # CHECKS
    x = float_array("logits", logits)
    y = binary_array("targets", targets, shape=x.shape)

    # RESULT
    return sigmoid(np.where(y == 1, -x, x))  # 1 - p as a sigmoid of its own, not by subtraction


def ghm_classification_loss(  # noqa: PLR0913 - each option is a choice between paper and code
    logits: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> GHMLoss:
    r"""GHM-C with unit regions, in nats, and the new moving average.

    $$ L = \frac1N \sum_{i=1}^{N} \hat\beta_i \, \mathrm{CE}(x_i, y_i),
       \qquad \mathrm{CE}(x, 1) = -\log \sigma(x), \quad \mathrm{CE}(x, 0) = -\log \sigma(-x) $$

    with $\hat\beta$ of `unit_region_weights` at $g_i = |\sigma(x_i) - y_i|$. One call is one histogram: give
    it all images, anchors, levels and classes together.

    Parameters
    ----------
    logits : float, shape (...)
        $x$, any value. Infinities give the limit; NaN is not an example, it gives NaN in its own element.
    targets : int or bool, shape of `logits`
        $y$, each 0 or 1.
    valid : bool, shape of `logits`, or None
        Which elements are examples; the others are not counted and have loss 0. None: all.
    state : float >= 0, shape (bins,), or None
        Moving average of the region counts before this call; None: zeros.
    bins, norm, momentum, ema
        As in `unit_region_weights` (authors' configuration: 30 regions, momentum 0.75).
    reduction : "sum" or "none"
        "none" returns the terms $\hat\beta_i \, \mathrm{CE}_i / N$, whose sum is the loss.

    Returns
    -------
    loss : float64, a scalar, or shape of `logits` for ``reduction="none"``
        0 if there is no example.
    state : float64, shape (bins,)
        The moving average after this call; as given if `momentum` is None.

    Raises
    ------
    SpecError
        Shapes differ, a target is not 0 or 1, an option is out of range.

    Source
    ------
    Paper, equations 8 to 13, and the authors' code.

    Examples
    --------
    Three examples at $g = 1/2$ and an easy one at 0.0180: each region gives its mean, here $\ln 2$ and 0.018150,
    and the loss is the mean of the two.

    >>> ghm_classification_loss([0.0, 0.0, 0.0, -4.0], [0, 1, 0, 0]).loss.round(6)
    np.float64(0.355649)
    """
    # CHECKS
    x, y, is_valid = _logits_targets_and_mask(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    g = cross_entropy_gradient_norm(x, y)
    beta, new_state = unit_region_weights(g, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema)
    terms = harmonized_mean_terms(_cross_entropy(x, y), beta, is_valid)

    # RESULT
    return GHMLoss(terms.sum() if reduction == "sum" else terms, new_state)


def ghm_classification_loss_grad(  # noqa: PLR0913 - each option is a choice between paper and code
    logits: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> Float:
    r"""Derivative of the loss of `ghm_classification_loss` with respect to every logit.

    $$ \frac{\partial L}{\partial x_i} = \frac{\hat\beta_i}{N} \, (\sigma(x_i) - y_i) $$

    $\hat\beta$ is a constant: neither $g$ nor the counts nor the moving average are differentiated.

    Parameters, errors: as `ghm_classification_loss`; `reduction` changes nothing.

    Returns
    -------
    float64, shape of `logits`
        Without a moving average and with ``norm="nonempty"``, the absolute values in one region sum to the
        region's mean $g$ by the number of regions, however many examples it holds.

    Source
    ------
    Paper, section on GHM-C.

    Examples
    --------
    >>> ghm_classification_loss_grad([0.0, 0.0, 0.0, -4.0], [0, 1, 0, 0]).round(6)
    array([ 0.083333, -0.083333,  0.083333,  0.008993])
    """
    # CHECKS
    x, y, is_valid = _logits_targets_and_mask(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    g = cross_entropy_gradient_norm(x, y)
    beta, _ = unit_region_weights(g, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema)

    # RESULT
    return harmonized_mean_terms(np.where(y == 1, -g, g), beta, is_valid)


def ghm_classification_loss_with_labels(
    logits: ArrayLike,
    labels: ArrayLike,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> GHMLoss:
    r"""GHM-C from one class id an anchor.

    The target of channel $c$ is 1 where the label is $c$, else 0: a background anchor is a negative in all C
    channels. An ignored anchor is no example in any of them.

    Parameters
    ----------
    logits : float, shape (..., C)
        One sigmoid channel a foreground class.
    labels : int, shape (...)
        0..C-1 foreground, C background, -1 ignore.
    state, bins, norm, momentum, ema, reduction
        As in `ghm_classification_loss`.

    Returns
    -------
    loss, state
        As `ghm_classification_loss`.

    Raises
    ------
    SpecError
        `labels` does not have the shape of `logits` without its last axis, or holds another id.

    Source
    ------
    As `ghm_classification_loss`. In the authors' code background is label 0.

    Examples
    --------
    Two classes; the anchors are of class 1, background, ignored. All four examples are in the region of 1/2.

    >>> ghm_classification_loss_with_labels([[0.0, 0.0]] * 3, [1, 2, -1]).loss.round(6)
    np.float64(0.693147)
    """
    # CHECKS
    x, y, is_valid = _one_channel_a_class(logits, labels)

    # RESULT
    return ghm_classification_loss(
        x, y, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema, reduction=reduction
    )


def ghm_classification_loss_with_labels_grad(
    logits: ArrayLike,
    labels: ArrayLike,
    state: ArrayLike | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    reduction: str = "sum",
) -> Float:
    """Derivative of the loss of `ghm_classification_loss_with_labels` with respect to every logit.

    Parameters, errors: as `ghm_classification_loss_with_labels`. Returns float64, shape (..., C).

    Source
    ------
    As `ghm_classification_loss_grad`.

    Examples
    --------
    >>> ghm_classification_loss_with_labels_grad([[0.0, 0.0]] * 2, [1, -1])
    array([[ 0.25, -0.25],
           [ 0.  ,  0.  ]])
    """
    # CHECKS
    x, y, is_valid = _one_channel_a_class(logits, labels)

    # RESULT
    return ghm_classification_loss_grad(
        x, y, is_valid, state, bins=bins, norm=norm, momentum=momentum, ema=ema, reduction=reduction
    )


def exact_ghm_classification_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    epsilon: float,
    reduction: str = "sum",
) -> Float | np.float64:
    r"""GHM-C with the exact gradient density, in nats.

    $$ L = \frac1N \sum_{i=1}^{N} \beta_i \, \mathrm{CE}(x_i, y_i)
         = \sum_{i=1}^{N} \frac{\mathrm{CE}(x_i, y_i)}{\mathrm{GD}(g_i)} $$

    Parameters
    ----------
    logits, targets, valid, reduction
        As in `ghm_classification_loss`.
    epsilon : float in (0, 2]
        Length of the window of `gradient_density`. At 2 every window holds all $g < 1$: the mean cross entropy,
        unless $g = 0$ and $g = 1$ occur together.

    Returns
    -------
    float64, a scalar, or shape of `logits` for ``reduction="none"``

    Raises
    ------
    SpecError
        As `ghm_classification_loss`.

    Source
    ------
    Paper, equations 4 to 8.

    Examples
    --------
    Two examples at $g = 1/2$, each the other's neighbour: $\beta = 2 \cdot 0.25 / 2$, so a quarter of $\ln 2$.

    >>> exact_ghm_classification_loss([0.0, 0.0], [0, 1], epsilon=0.25).round(6)
    np.float64(0.173287)
    """
    # CHECKS
    x, y, is_valid = _logits_targets_and_mask(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    beta = harmonizing_weights(cross_entropy_gradient_norm(x, y), is_valid, epsilon=epsilon)
    terms = harmonized_mean_terms(_cross_entropy(x, y), beta, is_valid)

    # RESULT
    return terms.sum() if reduction == "sum" else terms


def exact_ghm_classification_loss_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    epsilon: float,
    reduction: str = "sum",
) -> Float:
    r"""Derivative of `exact_ghm_classification_loss` with respect to every logit.

    $\beta_i (\sigma(x_i) - y_i) / N$: $\beta$ is a constant, its window length too.

    Parameters, errors: as `exact_ghm_classification_loss`; `reduction` changes nothing. Returns float64, shape
    of `logits`.

    Source
    ------
    Paper, section on GHM-C.

    Examples
    --------
    >>> exact_ghm_classification_loss_grad([0.0, 0.0], [0, 1], epsilon=0.25)
    array([ 0.0625, -0.0625])
    """
    # CHECKS
    x, y, is_valid = _logits_targets_and_mask(logits, targets, valid)
    one_of("reduction", reduction, REDUCTIONS)

    # QUANTITIES OF THE PAPER
    g = cross_entropy_gradient_norm(x, y)
    beta = harmonizing_weights(g, is_valid, epsilon=epsilon)

    # RESULT
    return harmonized_mean_terms(np.where(y == 1, -g, g), beta, is_valid)


def _cross_entropy(x: Float, y: Int) -> Float:
    return -log_sigmoid(np.where(y == 1, x, -x))


def _logits_targets_and_mask(logits: ArrayLike, targets: ArrayLike, valid: ArrayLike | None) -> tuple[Float, Int, Bool]:
    x = float_array("logits", logits)
    y = binary_array("targets", targets, shape=x.shape)
    return x, y, mask_array("valid", valid, x.shape)


def _one_channel_a_class(logits: ArrayLike, labels: ArrayLike) -> tuple[Float, Bool, Bool]:
    x = float_array("logits", logits)
    if x.ndim == 0:
        raise SpecError("logits: expected shape (..., C), got ()")
    label = label_array("labels", labels, num_classes=x.shape[-1], shape=x.shape[:-1])[..., None]
    return x, label == np.arange(x.shape[-1]), np.broadcast_to(label != -1, x.shape)
