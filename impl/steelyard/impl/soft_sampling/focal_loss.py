"""Sigmoid focal loss, one pass forward and one backward; by class ids, a sweep in which all anchors are background.

Specification: `steelyard.reference.soft_sampling.focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, non_negative, optional_fraction
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value, indicator
from steelyard.impl.soft_sampling.own_channel import by_channel


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of every element.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.sigmoid_focal_loss`.
    """
    float_tensor("logits", logits)
    discrete_tensor("targets", targets, shape=logits.shape, of="that of logits")
    alpha, gamma = optional_fraction("alpha", alpha), non_negative("gamma", gamma)
    loss: Tensor = _SigmoidFocalLoss.apply(logits, targets, alpha, gamma)  # type: ignore[no-untyped-call]
    return loss


def sigmoid_focal_loss_with_labels(
    logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss of every anchor in every class channel.

    Shapes: `logits` float (..., C), `labels` int (...) with C = background, -1 = ignore -> (..., C).
    Specification: `steelyard.reference.sigmoid_focal_loss_with_labels`.
    """
    float_tensor("logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits: expected shape (..., C), got ()")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    alpha, gamma = optional_fraction("alpha", alpha), non_negative("gamma", gamma)
    loss: Tensor = _SigmoidFocalLossWithLabels.apply(logits, labels, alpha, gamma)  # type: ignore[no-untyped-call]
    return loss


class _SigmoidFocalLoss(torch.autograd.Function):
    """Keeps only the logits and the targets: the backward pass recomputes what autograd would have stored."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            return _value(x, indicator(targets, x.dtype), alpha, gamma)

        return in_slices(loss, logits, targets, shared=logits.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, targets, ctx.alpha, ctx.gamma = inputs
        ctx.save_for_backward(logits, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
            x = logits.to(compute_dtype(logits))
            return (grad * _derivative(x, indicator(targets, x.dtype), ctx.alpha, ctx.gamma)).to(logits.dtype)

        logits, targets = ctx.saved_tensors
        return in_slices(gradient, logits, targets, grad, shared=logits.ndim), None, None, None


class _SigmoidFocalLossWithLabels(torch.autograd.Function):
    """Keeps only the logits and the labels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, alpha: float | None, gamma: float) -> Tensor:
        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return by_channel(
                logits.to(compute_dtype(logits)),
                labels,
                background=lambda x: _of_background(focal_value(x, gamma), alpha),
                element=lambda x, is_own: _value(x, is_own, alpha, gamma),
            )

        return in_slices(loss, logits, labels, shared=labels.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, labels, ctx.alpha, ctx.gamma = inputs
        ctx.save_for_backward(logits, labels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        alpha, gamma = ctx.alpha, ctx.gamma

        def gradient(logits: Tensor, labels: Tensor, grad: Tensor) -> Tensor:
            derivative = by_channel(
                logits.to(compute_dtype(logits)),
                labels,
                background=lambda x: _of_background(focal_derivative(x, gamma), alpha),
                element=lambda x, is_own: _derivative(x, is_own, alpha, gamma),
            )
            return (grad * derivative).to(logits.dtype)

        logits, labels = ctx.saved_tensors
        return in_slices(gradient, logits, labels, grad, shared=labels.ndim), None, None, None


def _value(x: Tensor, y: Tensor, alpha: float | None, gamma: float) -> Tensor:
    sign = 1.0 - 2.0 * y  # arithmetic on y takes a tenth of the time of choosing by it
    return _weigh(focal_value(sign * x, gamma), y, alpha)


def _derivative(x: Tensor, y: Tensor, alpha: float | None, gamma: float) -> Tensor:
    sign = 1.0 - 2.0 * y
    return _weigh(sign * focal_derivative(sign * x, gamma), y, alpha)


def _weigh(values: Tensor, y: Tensor, alpha: float | None) -> Tensor:
    return values if alpha is None else values * ((1.0 - alpha) + (2.0 * alpha - 1.0) * y)


def _of_background(values: Tensor, alpha: float | None) -> Tensor:
    return values if alpha is None else (1.0 - alpha) * values
