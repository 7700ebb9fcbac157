"""Softmax focal loss: the sigmoid form at the margin of the other logits over the true one.

Specification: `steelyard.reference.soft_sampling.softmax_focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import discrete_tensor, float_tensor, non_negative, optional_fraction
from steelyard.impl.soft_sampling.error_logit import focal_derivative, focal_value
from steelyard.impl.soft_sampling.shares_besides import by_logits, sums_besides_own


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
    loss: Tensor
    loss, *_ = _SoftmaxFocalLoss.apply(logits, labels, alpha, gamma)  # type: ignore[no-untyped-call]
    return loss


class _SoftmaxFocalLoss(torch.autograd.Function):
    """Keeps the logits and the labels, and of every anchor three numbers that spare the sums over its channels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        logits: Tensor, labels: Tensor, alpha: float | None, gamma: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        highest, others, below = sums_besides_own(logits, labels)
        values = focal_value((others.log() - below).squeeze(-1), gamma)
        return _weigh(values, labels, logits.shape[-1] - 1, alpha), highest, others, below

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        logits, labels, ctx.alpha, ctx.gamma = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, labels, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if grad is None:
            return None, None, None, None
        logits, labels, *sums = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # recorded: they depend on the logits
            sums = sums_besides_own(logits, labels)
        _, others, below = sums
        by_margin = focal_derivative((others.log() - below).squeeze(-1), ctx.gamma)
        by_margin = grad * _weigh(by_margin, labels, logits.shape[-1] - 1, ctx.alpha)
        return by_logits(logits, labels, sums, by_margin), None, None, None


def _weigh(values: Tensor, labels: Tensor, background: int, alpha: float | None) -> Tensor:
    if alpha is not None:
        values = torch.where(labels == background, (1.0 - alpha) * values, alpha * values)
    return values.masked_fill(labels == -1, 0.0)
