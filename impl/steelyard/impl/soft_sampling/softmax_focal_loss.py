"""Softmax focal loss: the sigmoid form at the margin of the other logits over the true one.

Specification: `steelyard.reference.soft_sampling.softmax_focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, non_negative, optional_fraction
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value


def softmax_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0) -> Tensor:
    """Softmax focal loss of every anchor.

    Shapes: `logits` float (..., C + 1), the background last, `labels` int (...) with C = background, -1 = ignore
    -> (...); float32 for half inputs.
    Specification: `steelyard.reference.softmax_focal_loss`.
    """
    float_tensor("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(f"logits: expected shape (..., C + 1) with C >= 1, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    alpha, gamma = optional_fraction("alpha", alpha), non_negative("gamma", gamma)
    loss: Tensor = _SoftmaxFocalLoss.apply(logits, labels, alpha, gamma)  # type: ignore[no-untyped-call]
    return loss


class _SoftmaxFocalLoss(torch.autograd.Function):
    """Keeps only the logits and the labels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor, alpha: float | None, gamma: float) -> Tensor:
        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            margin, _, _ = _margin(logits.to(compute_dtype(logits)), labels)
            return _weigh(focal_value(margin, gamma), labels, logits.shape[-1] - 1, alpha)

        return in_slices(loss, logits, labels, shared=labels.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        logits, labels, ctx.alpha, ctx.gamma = inputs
        ctx.save_for_backward(logits, labels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, labels: Tensor, grad: Tensor) -> Tensor:
            margin, others, is_true = _margin(logits.to(compute_dtype(logits)), labels)
            by_margin = _weigh(focal_derivative(margin, ctx.gamma), labels, logits.shape[-1] - 1, ctx.alpha)
            # the margin falls with the true logit and rises with the softmax of the others
            by_logit = torch.where(is_true, -1.0, torch.softmax(others, dim=-1))
            result = (grad * by_margin).unsqueeze(-1) * by_logit
            # masked_fill, not a product: an ignored NaN must not spoil the sum
            return result.masked_fill((labels == -1).unsqueeze(-1), 0.0).to(logits.dtype)

        logits, labels = ctx.saved_tensors
        return in_slices(gradient, logits, labels, grad, shared=labels.ndim), None, None, None


def _margin(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp of the others minus the true logit; the others, -inf at the true one; where the true one is."""
    true = labels.clamp(min=0).unsqueeze(-1)
    is_true = true == torch.arange(z.shape[-1], device=z.device)
    others = z.masked_fill(is_true, -torch.inf)
    return torch.logsumexp(others, dim=-1) - z.gather(-1, true).squeeze(-1), others, is_true


def _weigh(values: Tensor, labels: Tensor, background: int, alpha: float | None) -> Tensor:
    if alpha is not None:
        values = torch.where(labels == background, (1.0 - alpha) * values, alpha * values)
    return values.masked_fill(labels == -1, 0.0)
