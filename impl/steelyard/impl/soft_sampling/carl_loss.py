"""CARL from differentiable operations: the gradient flows through the score and through the normaliser.

What is as large as the logits, their way to the score of the true class and back, keeps nothing but the logits.

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
    is_positive = _is_positive(logits, labels, activation)
    k, b = non_negative("k", k), fraction("b", b)
    lowest = torch.finfo(compute_dtype(logits)).min

    true_class = torch.where(is_positive, labels, 0).to(torch.int64).unsqueeze(-1)
    log_p: Tensor = _LogScore.apply(logits, true_class, is_positive, activation == "softmax")  # type: ignore[no-untyped-call]
    log_v = log_p  # of b = 0: in logarithms no score is too small
    if b > 0:
        odds = math.log((1.0 - b) / b) if b < 1 else -math.inf
        log_v = math.log(b) - nn.functional.logsigmoid(-(log_p + odds))  # log((1 - b) p + b)
    log_v = (k * log_v.clamp(min=lowest)).clamp(min=lowest)  # -inf would have no difference from -inf

    with torch.no_grad():
        largest = torch.where(is_positive, log_v, lowest).flatten()
        largest = highest(nn.functional.pad(largest, (0, 1), value=lowest).amax(), group)
        number = summed(is_positive.sum(), group)
    # of the padding 0 before the exponential, since 0 times an infinite derivative is NaN
    v = torch.where(is_positive, torch.exp(torch.where(is_positive, log_v - largest, 0.0)), 0.0)
    total = summed_with_gradient(v.sum(), group)
    return v * (number / torch.where(number > 0, total, 1.0))


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
    c = classification_aware_regression_weights(logits, labels, activation=activation, k=k, b=b, group=group)
    losses = _sample_losses(regression_losses, labels)
    is_positive = _is_positive(logits, labels, activation)
    weighed = (c * torch.where(is_positive, losses, 0.0)).sum()
    return weighed / _average_factor(avg_factor, labels, group)


class _LogScore(torch.autograd.Function):
    """Logarithm of the score of the true class, of another sample some number; keeps its inputs only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, true_class: Tensor, is_positive: Tensor, softmax: bool) -> Tensor:  # noqa: FBT001
        def log_score(logits: Tensor, true_class: Tensor, is_positive: Tensor) -> Tensor:
            return nn.functional.logsigmoid(_margin(logits, true_class, is_positive, softmax)[0])

        return in_slices(log_score, logits, true_class, is_positive, shared=is_positive.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.softmax = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, true_class: Tensor, is_positive: Tensor, grad: Tensor) -> Tensor:
            margin, rest, others = _margin(logits, true_class, is_positive, ctx.softmax)
            by_margin = (grad * torch.where(is_positive, torch.sigmoid(-margin), 0.0)).unsqueeze(-1)
            elsewhere = by_margin.new_zeros(()).expand(logits.shape)
            if rest is not None:
                elsewhere = -by_margin * (rest - others).exp()
            return elsewhere.scatter(-1, true_class, by_margin).to(logits.dtype)

        return in_slices(gradient, *ctx.saved_tensors, grad, shared=grad.ndim), None, None, None


def _margin(
    logits: Tensor,
    true_class: Tensor,
    is_positive: Tensor,
    softmax: bool,  # noqa: FBT001 - of one class of functions
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Log odds of the true class; of softmax its margin above the others: 1 - p, the derivative, keeps its digits.

    And the logits without that of the true class, if they count, and the logarithm of their sum.
    """
    dtype = compute_dtype(logits)
    own = torch.where(is_positive, logits.gather(-1, true_class).squeeze(-1).to(dtype), 0.0)
    if not softmax:
        return own, None, own
    rest = torch.where(is_positive.unsqueeze(-1), logits.to(dtype), 0.0).scatter(-1, true_class, -torch.inf)
    others = rest.logsumexp(-1, keepdim=True)
    return own - others.squeeze(-1), rest, others


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
