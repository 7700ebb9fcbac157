"""FL*: one softplus of a shifted, steepened logit.

Specification: `steelyard.reference.soft_sampling.focal_loss_star`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, optional_fraction, positive
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value


def focal_loss_star(
    logits: Tensor, targets: Tensor, *, gamma: float = 2.0, beta: float = 1.0, alpha: float | None = None
) -> Tensor:
    """FL* of every element.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.focal_loss_star`.
    """
    float_tensor("logits", logits)
    discrete_tensor("targets", targets, shape=logits.shape, of="that of logits")
    gamma, alpha = positive("gamma", gamma), optional_fraction("alpha", alpha)
    if not -math.inf < beta < math.inf:
        raise ValueError(f"beta: expected a finite number, got {beta}")
    loss: Tensor = _FocalLossStar.apply(logits, targets, gamma, float(beta), alpha)  # type: ignore[no-untyped-call]
    return loss


class _FocalLossStar(torch.autograd.Function):
    """Keeps only the logits and the targets. Without the focal factor, `focal_value` is a softplus."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, gamma: float, beta: float, alpha: float | None) -> Tensor:
        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            is_positive = targets == 1
            value = focal_value(_exponent(logits, is_positive, gamma, beta), 0.0) / gamma
            return _weigh(value, is_positive, alpha)

        return in_slices(loss, logits, targets, shared=targets.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, targets, ctx.gamma, ctx.beta, ctx.alpha = inputs
        ctx.save_for_backward(logits, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
            is_positive = targets == 1
            derivative = focal_derivative(_exponent(logits, is_positive, ctx.gamma, ctx.beta), 0.0)
            derivative = torch.where(is_positive, -derivative, derivative)
            return (grad * _weigh(derivative, is_positive, ctx.alpha)).to(logits.dtype)

        logits, targets = ctx.saved_tensors
        return in_slices(gradient, logits, targets, grad, shared=targets.ndim), None, None, None, None


def _exponent(logits: Tensor, is_positive: Tensor, gamma: float, beta: float) -> Tensor:
    x = logits.to(compute_dtype(logits))
    return gamma * torch.where(is_positive, -x, x) - beta


def _weigh(values: Tensor, is_positive: Tensor, alpha: float | None) -> Tensor:
    return values if alpha is None else torch.where(is_positive, alpha * values, (1.0 - alpha) * values)
