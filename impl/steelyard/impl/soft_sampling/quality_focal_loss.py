"""Quality focal loss: a sweep over all channels, the soft target in one gathered channel an anchor.

Specification: `steelyard.reference.soft_sampling.quality_focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor, non_negative
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value
from steelyard.impl.soft_sampling.own_channel import by_channel
from steelyard.impl.soft_sampling.soft_target import (
    check_labels_and_quality,
    score_minus_target,
    soft_cross_entropy,
)


def quality_focal_loss(logits: Tensor, targets: Tensor, *, beta: float = 2.0) -> Tensor:
    """Quality focal loss of every element.

    Shapes: `logits` float (...,), `targets` float in [0, 1] (...,), a constant -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.quality_focal_loss`.
    """
    float_tensor("logits", logits)
    float_tensor("targets", targets, shape=logits.shape, of="that of logits")
    loss: Tensor = _QualityFocalLoss.apply(logits, targets, non_negative("beta", beta))  # type: ignore[no-untyped-call]
    return loss


def quality_focal_loss_with_labels(logits: Tensor, labels: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Quality focal loss of every anchor in every class channel.

    Shapes: `logits` float (..., C), `labels` int (...) with C = background, -1 = ignore, `quality` float (...),
    a constant that is read at foreground anchors -> (..., C); float32 for half inputs.
    Specification: `steelyard.reference.quality_focal_loss_with_labels`.
    """
    check_labels_and_quality(logits, labels, quality)
    beta = non_negative("beta", beta)
    loss: Tensor = _QualityFocalLossWithLabels.apply(logits, labels, quality, beta)  # type: ignore[no-untyped-call]
    return loss


class _QualityFocalLoss(torch.autograd.Function):
    """Keeps only the logits and the targets."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, beta: float) -> Tensor:
        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            return _value(x, targets.to(x.dtype), beta, is_dense=True)

        return in_slices(loss, logits, targets, shared=logits.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, targets, ctx.beta = inputs
        ctx.save_for_backward(logits, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            return (grad * _derivative(x, targets.to(x.dtype), ctx.beta, is_dense=True)).to(logits.dtype)

        logits, targets = ctx.saved_tensors
        return in_slices(gradient, logits, targets, grad, shared=logits.ndim), None, None


class _QualityFocalLossWithLabels(torch.autograd.Function):
    """Keeps only the logits, the labels and the quality."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, quality: Tensor, beta: float) -> Tensor:
        def loss(logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
            return by_channel(
                logits.to(compute_dtype(logits)),
                labels,
                quality,
                background=lambda x: focal_value(x, beta),
                element=lambda x, _, y: _value(x, y, beta),
            )

        return in_slices(loss, logits, labels, quality, shared=labels.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, labels, quality, ctx.beta = inputs
        ctx.save_for_backward(logits, labels, quality)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        beta = ctx.beta

        def gradient(logits: Tensor, labels: Tensor, quality: Tensor, grad: Tensor) -> Tensor:
            derivative = by_channel(
                logits.to(compute_dtype(logits)),
                labels,
                quality,
                background=lambda x: focal_derivative(x, beta),
                element=lambda x, _, y: _derivative(x, y, beta),
            )
            return (grad * derivative).to(logits.dtype)

        logits, labels, quality = ctx.saved_tensors
        return in_slices(gradient, logits, labels, quality, grad, shared=labels.ndim), None, None, None


def _value(x: Tensor, y: Tensor, beta: float, *, is_dense: bool = False) -> Tensor:
    cross_entropy = soft_cross_entropy(x, y, is_dense=is_dense)
    if beta == 0:
        return cross_entropy
    delta = score_minus_target(x, y)
    return (delta * delta if beta == 2 else delta.abs().pow(beta)) * cross_entropy


def _derivative(x: Tensor, y: Tensor, beta: float, *, is_dense: bool = False) -> Tensor:
    """0 where the score is the target, for every beta: sign(0) is 0, and nothing divides by the distance there."""
    p, one_minus_p = torch.sigmoid(x), torch.sigmoid(-x)
    delta = (1.0 - y) * p - y * one_minus_p
    if beta == 0:
        return delta
    cross_entropy = soft_cross_entropy(x, y, is_dense=is_dense).clamp(
        max=torch.finfo(x.dtype).max
    )  # 0 * inf has the limit 0
    slope = p * one_minus_p
    if beta == 2:  # the usual one is a polynomial in delta: cheap, and differentiable again at 0
        return delta * (delta * delta + 2.0 * slope * cross_entropy)
    distance = torch.where(delta == 0, 1.0, delta.abs())
    return delta.sign() * distance.pow(beta) * (distance + beta * (slope / distance) * cross_entropy)
