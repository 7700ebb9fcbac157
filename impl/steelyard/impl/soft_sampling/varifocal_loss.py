"""Varifocal loss: a focal sweep over all channels, the soft target in one gathered channel an anchor.

Specification: `steelyard.reference.soft_sampling.varifocal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor, non_negative, one_of, optional_non_negative
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value
from steelyard.impl.soft_sampling.own_channel import by_channel
from steelyard.impl.soft_sampling.soft_target import (
    check_labels_and_quality,
    score_minus_target,
    soft_cross_entropy,
)

BRANCHES = ("label", "quality")


def varifocal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
) -> Tensor:
    """Varifocal loss of every element.

    Shapes: `logits` float (...,), `targets` float in [0, 1] (...,), a constant -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.varifocal_loss`.
    """
    float_tensor("logits", logits)
    float_tensor("targets", targets, shape=logits.shape, of="that of logits")
    options = _Options(alpha, gamma, iou_weighted=iou_weighted, branch="quality")
    loss: Tensor = _VarifocalLoss.apply(logits, targets, options)  # type: ignore[no-untyped-call]
    return loss


def varifocal_loss_with_labels(
    logits: Tensor,
    labels: Tensor,
    quality: Tensor,
    *,
    alpha: float | None = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    branch: str = "quality",
) -> Tensor:
    """Varifocal loss of every anchor in every class channel.

    Shapes: `logits` float (..., C), `labels` int (...) with C = background, -1 = ignore, `quality` float (...),
    a constant that is read at foreground anchors -> (..., C); float32 for half inputs.
    Specification: `steelyard.reference.varifocal_loss_with_labels`.
    """
    check_labels_and_quality(logits, labels, quality)
    options = _Options(alpha, gamma, iou_weighted=iou_weighted, branch=branch)
    loss: Tensor = _VarifocalLossWithLabels.apply(logits, labels, quality, options)  # type: ignore[no-untyped-call]
    return loss


class _Options:
    """Options and, for them, the value and the derivative of one element by its branch."""

    def __init__(self, alpha: float | None, gamma: float, *, iou_weighted: bool, branch: str) -> None:
        self.alpha = optional_non_negative("alpha", alpha)
        self.gamma = non_negative("gamma", gamma)
        self.iou_weighted = iou_weighted
        self.by_quality = one_of("branch", branch, BRANCHES) == "quality"

    def background(self, x: Tensor) -> Tensor:
        return self._times_alpha(focal_value(x, self.gamma))

    def background_derivative(self, x: Tensor) -> Tensor:
        return self._times_alpha(focal_derivative(x, self.gamma))

    def element(self, x: Tensor, is_own: Tensor, q: Tensor) -> Tensor:
        """One cross entropy serves both branches: against a quality of 0 it is that of a negative."""
        is_positive = q.sign() if self.by_quality else is_own
        negative = self._times_alpha(torch.sigmoid(x) ** self.gamma)
        weight = (q if self.iou_weighted else is_positive) + (1.0 - is_positive) * negative
        loss = weight * soft_cross_entropy(x, q)
        # weight 0 annuls an infinite loss too
        return loss if self.by_quality and self.alpha != 0 else torch.where(weight == 0, 0.0, loss)

    def element_derivative(self, x: Tensor, is_own: Tensor, q: Tensor) -> Tensor:
        """Both branches are finite: so a sum may choose."""
        is_positive = q.sign() if self.by_quality else is_own
        positive = (q if self.iou_weighted else is_positive) * score_minus_target(x, q)
        derivative = positive + (1.0 - is_positive) * self.background_derivative(x)
        return derivative if self.alpha != 0 else torch.where(is_positive == 0, 0.0, derivative)

    def _times_alpha(self, values: Tensor) -> Tensor:
        if self.alpha is None:
            return values
        return torch.zeros_like(values) if self.alpha == 0 else self.alpha * values


class _VarifocalLoss(torch.autograd.Function):
    """Keeps only the logits and the targets."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, options: _Options) -> Tensor:
        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            y = targets.to(x.dtype)
            return options.element(x, y, y)

        return in_slices(loss, logits, targets, shared=logits.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, targets, ctx.options = inputs
        ctx.save_for_backward(logits, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            y = targets.to(x.dtype)
            return (grad * options.element_derivative(x, y, y)).to(logits.dtype)

        options: _Options = ctx.options
        logits, targets = ctx.saved_tensors
        return in_slices(gradient, logits, targets, grad, shared=logits.ndim), None, None


class _VarifocalLossWithLabels(torch.autograd.Function):
    """Keeps only the logits, the labels and the quality."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, quality: Tensor, options: _Options) -> Tensor:
        def loss(logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            return by_channel(x, labels, quality, background=options.background, element=options.element)

        return in_slices(loss, logits, labels, quality, shared=labels.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, labels, quality, ctx.options = inputs
        ctx.save_for_backward(logits, labels, quality)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        options = ctx.options

        def gradient(logits: Tensor, labels: Tensor, quality: Tensor, grad: Tensor) -> Tensor:
            derivative = by_channel(
                logits.to(compute_dtype(logits)),
                labels,
                quality,
                background=options.background_derivative,
                element=options.element_derivative,
            )
            return (grad * derivative).to(logits.dtype)

        logits, labels, quality = ctx.saved_tensors
        return in_slices(gradient, logits, labels, quality, grad, shared=labels.ndim), None, None, None
