"""CARL from differentiable operations: the gradient flows through the score and through the normaliser.

What is as large as the logits is the cross entropy of the softmax, or one logit a row of the sigmoid's.

Specification: `steelyard.reference.soft_sampling.carl_loss`.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steelyard.impl.checks import (
    compute_dtype,
    discrete_tensor,
    float_tensor,
    fraction,
    non_negative,
    one_of,
    positive,
)
from steelyard.impl.collectives import highest, summed, summed_with_gradient
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.softmax_focal_loss import softmax_focal_loss

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

ACTIVATIONS = ("softmax", "sigmoid")


def classification_aware_regression_weights(
    logits: Tensor,
    labels: Tensor,
    *,
    activation: str = "softmax",
    k: float = 1.0,
    b: float = 0.2,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Share of every positive, differentiable; normalised over all processes of the group.

    Shapes: `logits` float (..., C + 1) for softmax, (..., C) for sigmoid, `labels` int (...) with C = background,
    -1 = ignore -> (...); float32 for half inputs.
    Specification: `steelyard.reference.classification_aware_regression_weights`.
    """
    v, factor = _unnormalised(logits, labels, _is_positive(logits, labels, activation), activation, k, b, group)
    return v * factor


def classification_aware_regression_loss(
    logits: Tensor,
    labels: Tensor,
    regression_losses: Tensor,
    *,
    activation: str = "softmax",
    k: float = 1.0,
    b: float = 0.2,
    avg_factor: float | Tensor | None = None,
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Classification-aware regression loss; those of all processes of the group add up to the loss of the whole.

    Shapes: `logits` float (..., C + 1) for softmax, (..., C) for sigmoid, `labels` int (...) with C = background,
    -1 = ignore, `regression_losses` float (...) or (..., 4), `avg_factor` a number or () -> (); float32 for half
    inputs.
    Specification: `steelyard.reference.classification_aware_regression_loss`.
    """
    is_positive = _is_positive(logits, labels, activation)
    v, factor = _unnormalised(logits, labels, is_positive, activation, k, b, group)
    losses = _sample_losses(regression_losses, labels)
    weighed = (v * torch.where(is_positive, losses, 0.0)).sum() * factor
    return weighed / _average_factor(avg_factor, labels, group)


def _unnormalised(
    logits: Tensor,
    labels: Tensor,
    is_positive: Tensor,
    activation: str,
    k: float,
    b: float,
    group: "ProcessGroup | None",
) -> tuple[Tensor, Tensor]:
    """The v of every positive by the largest one, and the number that makes shares of them."""
    k, b = non_negative("k", k), fraction("b", b)
    lowest = torch.finfo(compute_dtype(logits)).min
    log_p = _log_score(logits, labels, is_positive, activation)
    if b > 0:
        odds = math.log((1.0 - b) / b) if b < 1 else -math.inf
        log_v = math.log(b) - nn.functional.logsigmoid(-(log_p + odds))  # log((1 - b) p + b)
    else:
        log_v = log_p.clamp(min=lowest)  # in logarithms no score is too small; -inf would have no difference from -inf
    if k != 1:
        log_v = (k * log_v).clamp(min=lowest)
    log_v = torch.where(is_positive, log_v, -torch.inf)

    with torch.no_grad():
        largest = nn.functional.pad(log_v.flatten(), (0, 1), value=lowest).amax()
        largest = highest(largest, group)
        number = summed(is_positive.sum(), group)
    v = torch.exp(log_v - largest)
    total = summed_with_gradient(v.sum(), group)
    return v, number / torch.where(number > 0, total, 1.0)


def _log_score(logits: Tensor, labels: Tensor, is_positive: Tensor, activation: str) -> Tensor:
    """Logarithm of the score of the true class; of another sample some number, whatever stands there."""
    if activation == "softmax":  # by the margin above the others: 1 - p, the derivative, keeps its digits
        label = torch.where(is_positive, labels, -1).to(torch.int32)
        return -softmax_focal_loss(logits, label, alpha=None, gamma=0.0)
    label = torch.where(is_positive, labels, 0)
    if logits.dtype == compute_dtype(logits):
        own = logits.gather(-1, _channel(label)).squeeze(-1)
    else:
        own = _OwnHalfLogit.apply(logits, label)  # type: ignore[no-untyped-call]
    return nn.functional.logsigmoid(torch.where(is_positive, own.to(compute_dtype(logits)), 0.0))


class _OwnHalfLogit(torch.autograd.Function):
    """The logit of the true class, in slices: PyTorch adds half numbers up in a float32 copy of the whole gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.gather(-1, _channel(labels)).squeeze(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        def gradient(logits: Tensor, labels: Tensor, grad: Tensor) -> Tensor:
            wide = grad.to(compute_dtype(grad)).unsqueeze(-1)
            return wide.new_zeros(logits.shape).scatter_add_(-1, _channel(labels), wide).to(logits.dtype)

        logits, labels = ctx.saved_tensors
        return in_slices(gradient, logits, labels, grad, shared=labels.ndim), None


def _channel(labels: Tensor) -> Tensor:
    return labels.to(torch.int64).unsqueeze(-1)


def _is_positive(logits: Tensor, labels: Tensor, activation: str) -> Tensor:
    background = 1 if one_of("activation", activation, ACTIVATIONS) == "softmax" else 0
    if float_tensor("logits", logits).ndim == 0 or logits.shape[-1] < 1 + background:
        channels = "C + 1" if background else "C"
        raise ValueError(f"logits: expected shape (..., {channels}) with C >= 1, got {tuple(logits.shape)}")
    discrete_tensor("labels", labels, shape=logits.shape[:-1], of="that of logits without its class axis")
    return (labels >= 0) & (labels < logits.shape[-1] - background)


def _sample_losses(losses: Tensor, labels: Tensor) -> Tensor:
    """One loss a sample: coordinates are summed."""
    shape = losses.shape[: labels.ndim] if losses.ndim == labels.ndim + 1 else losses.shape
    if shape != labels.shape:
        expected = tuple(labels.shape)
        raise ValueError(f"regression_losses: expected shape {expected} or {(*expected, 4)}, got {tuple(losses.shape)}")
    widened = float_tensor("regression_losses", losses).to(compute_dtype(losses))
    return widened if losses.ndim == labels.ndim else widened.sum(-1)


def _average_factor(avg_factor: float | Tensor | None, labels: Tensor, group: "ProcessGroup | None") -> float | Tensor:
    if isinstance(avg_factor, Tensor):
        return avg_factor
    if avg_factor is not None:
        return positive("avg_factor", avg_factor)
    return summed((labels != -1).sum(), group).clamp(min=1)
