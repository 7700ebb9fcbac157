"""Distribution focal loss: one softmax over the bins, mended in the two bins beside the target.

Specification: `steelyard.reference.soft_sampling.distribution_focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor
from steelyard.impl.slices import in_slices


def distribution_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Distribution focal loss of every side.

    Shapes: `logits` float (..., n + 1), `targets` float in [0, n] (...), a constant -> (...); float32 for half inputs.
    Specification: `steelyard.reference.distribution_focal_loss`.
    """
    _check_logits(logits)
    float_tensor("targets", targets, shape=logits.shape[:-1], of="that of logits without its bin axis")
    return masked_distribution_focal_loss(logits, targets, None)


def masked_distribution_focal_loss(logits: Tensor, targets: Tensor, counted: Tensor | None) -> Tensor:
    """Distribution focal loss where `counted`, else 0 with gradient 0, whatever stands there.

    Shapes: `logits` (..., n + 1), `targets` (...), `counted` bool (...) or None for all -> (...).
    """
    loss: Tensor = _DistributionFocalLoss.apply(logits, targets, counted)  # type: ignore[no-untyped-call]
    return loss


def distribution_expectation(logits: Tensor) -> Tensor:
    """Expectation of every distribution over its bins 0, 1, ..., n.

    Shapes: `logits` float (..., n + 1) -> (...); float32 for half inputs.
    Specification: `steelyard.reference.distribution_expectation`.
    """
    _check_logits(logits)
    expectation: Tensor = _DistributionExpectation.apply(logits)  # type: ignore[no-untyped-call]
    return expectation


def distances_from_boxes(
    points: Tensor, boxes: Tensor, strides: Tensor, *, num_bins: int, margin: float | None = 0.1
) -> Tensor:
    """Distances of points to the sides of their boxes, in strides.

    Shapes: `points` float (..., 2), `boxes` float (..., 4), `strides` float (...) -> (..., 4); float32 for
    half boxes.
    Specification: `steelyard.reference.distances_from_boxes`.
    """
    points, boxes, strides = _geometry(points, "boxes", boxes, strides)
    if num_bins < 2:
        raise ValueError(f"num_bins: expected an int >= 2, got {num_bins}")
    n = num_bins - 1
    if margin is not None and not 0 <= margin <= n:
        raise ValueError(f"margin: expected None or a number in [0, {n}], got {margin}")
    to_sides = torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)
    in_strides = to_sides / strides.unsqueeze(-1)
    return in_strides if margin is None else in_strides.clamp(0.0, n - margin)


def boxes_from_distances(points: Tensor, distances: Tensor, strides: Tensor) -> Tensor:
    """Boxes (x1, y1, x2, y2) that distances in strides stand for.

    Shapes: `points` float (..., 2), `distances` float (..., 4), `strides` float (...) -> (..., 4); float32 for
    half distances.
    Specification: `steelyard.reference.boxes_from_distances`.
    """
    points, distances, strides = _geometry(points, "distances", distances, strides)
    offset = distances * strides.unsqueeze(-1)
    return torch.cat([points - offset[..., :2], points + offset[..., 2:]], dim=-1)


class _DistributionFocalLoss(torch.autograd.Function):
    """Keeps only the logits, the targets and the mask."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, counted: Tensor | None) -> Tensor:
        def loss(logits: Tensor, targets: Tensor, *counted: Tensor) -> Tensor:
            if torch.compiler.is_compiling():
                return _masked(_compiled_loss(logits, targets), *counted)
            log_shares = torch.log_softmax(logits.to(compute_dtype(logits)), dim=-1)
            lower, w_lower, w_upper = _two_bins(targets.to(log_shares.dtype), num_bins=log_shares.shape[-1])
            of_lower, of_upper = log_shares.gather(-1, lower), log_shares.gather(-1, lower + 1)
            upper_is_larger = of_upper > of_lower
            # log1p of the other shares: the logarithm of a share near 1 keeps its digits
            larger = lower + upper_is_larger
            others = log_shares.exp().scatter(-1, larger, 0.0).sum(dim=-1, keepdim=True)
            of_larger = torch.where(others < 0.5, torch.log1p(-others), torch.maximum(of_lower, of_upper))
            values = _weighted(w_lower, -torch.where(upper_is_larger, of_lower, of_larger))
            values = values + _weighted(w_upper, -torch.where(upper_is_larger, of_larger, of_upper))
            return _masked(values.squeeze(-1), *counted)

        tensors = (logits, targets) if counted is None else (logits, targets, counted)
        return in_slices(loss, *tensors, shared=targets.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(logits: Tensor, targets: Tensor, grad: Tensor, *counted: Tensor) -> Tensor:
            if torch.compiler.is_compiling():
                derivative = grad.unsqueeze(-1) * _compiled_derivative(logits, targets)
                return _masked(derivative, *(mask.unsqueeze(-1) for mask in counted)).to(logits.dtype)
            shares = torch.softmax(logits.to(compute_dtype(logits)), dim=-1)
            lower, w_lower, w_upper = _two_bins(targets.to(shares.dtype), num_bins=shares.shape[-1])
            upper_is_near = w_upper > w_lower
            near = torch.where(upper_is_near, lower + 1, lower)
            far = torch.where(upper_is_near, lower, lower + 1)
            w_far = torch.where(upper_is_near, w_lower, w_upper)
            # share - w_near as w_far - (1 - share), with 1 - share summed up: nothing cancels when both are near 1
            at_near = w_far - shares.scatter(-1, near, 0.0).sum(dim=-1, keepdim=True)
            at_far = shares.gather(-1, far) - w_far
            derivative = shares.scatter(-1, torch.cat([near, far], dim=-1), torch.cat([at_near, at_far], dim=-1))
            derivative = grad.unsqueeze(-1) * derivative
            return _masked(derivative, *(mask.unsqueeze(-1) for mask in counted)).to(logits.dtype)

        logits, targets, counted = ctx.saved_tensors
        tensors = (logits, targets, grad) if counted is None else (logits, targets, grad, counted)
        return in_slices(gradient, *tensors, shared=targets.ndim), None, None


def _compiled_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss by comparisons with bin numbers, which are fused, where a scatter is not."""
    z = _below_highest(logits)
    lower, w_lower, w_upper = _two_bins(targets.to(z.dtype), num_bins=z.shape[-1])
    is_highest = _bins(z) == z.argmax(dim=-1, keepdim=True)
    log_total = torch.log1p(z.exp().masked_fill(is_highest, 0.0).sum(dim=-1, keepdim=True))
    values = _weighted(w_lower, log_total - z.gather(-1, lower))
    return (values + _weighted(w_upper, log_total - z.gather(-1, lower + 1))).squeeze(-1)


def _compiled_derivative(logits: Tensor, targets: Tensor) -> Tensor:
    """The derivative likewise."""
    e = _below_highest(logits).exp()
    bins = _bins(e)
    total = e.sum(dim=-1, keepdim=True)
    lower, w_lower, w_upper = _two_bins(targets.to(e.dtype), num_bins=e.shape[-1])
    upper_is_near = w_upper > w_lower
    near = torch.where(upper_is_near, lower + 1, lower)
    far = torch.where(upper_is_near, lower, lower + 1)
    w_far = torch.where(upper_is_near, w_lower, w_upper)
    at_near = w_far - e.masked_fill(bins == near, 0.0).sum(dim=-1, keepdim=True) / total
    return torch.where(bins == near, at_near, e / total - torch.where(bins == far, w_far, 0.0))


class _DistributionExpectation(torch.autograd.Function):
    """Keeps only the logits."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor) -> Tensor:
        def expectation(logits: Tensor) -> Tensor:
            e = _below_highest(logits).exp()
            return (e * _bins(e)).sum(dim=-1) / e.sum(dim=-1)

        return in_slices(expectation, logits, shared=logits.ndim - 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        def gradient(logits: Tensor, grad: Tensor) -> Tensor:
            e = _below_highest(logits).exp()
            share = e / e.sum(dim=-1, keepdim=True)
            # bins counted from the likeliest one: its own distance to the expectation then does not cancel
            bin_from_likeliest = _bins(e) - e.argmax(dim=-1, keepdim=True)
            expectation = (share * bin_from_likeliest).sum(dim=-1, keepdim=True)
            return (grad.unsqueeze(-1) * share * (bin_from_likeliest - expectation)).to(logits.dtype)

        (logits,) = ctx.saved_tensors
        return in_slices(gradient, logits, grad, shared=logits.ndim - 1)


def _two_bins(y: Tensor, *, num_bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lower bin and the weights of it and the next, (..., 1). Clamped, so that no target reads out of bounds."""
    lower = y.detach().floor().to(torch.int64).clamp(0, num_bins - 2)
    return lower.unsqueeze(-1), (lower + 1 - y).unsqueeze(-1), (y - lower).unsqueeze(-1)


def _below_highest(logits: Tensor) -> Tensor:
    z = logits.to(compute_dtype(logits))
    return z - z.detach().amax(dim=-1, keepdim=True)


def _bins(z: Tensor) -> Tensor:
    return torch.arange(z.shape[-1], device=z.device)


def _weighted(weight: Tensor, value: Tensor) -> Tensor:
    """Product in which a weight of 0 annuls an infinite value too."""
    return torch.where(weight == 0, 0.0, weight * value)


def _masked(values: Tensor, *counted: Tensor) -> Tensor:
    return values.masked_fill(~counted[0], 0.0) if counted else values


def _check_logits(logits: Tensor) -> None:
    float_tensor("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(f"logits: expected shape (..., n + 1) with n >= 1, got {tuple(logits.shape)}")


def _geometry(points: Tensor, name: str, value: Tensor, strides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points, value and strides in one dtype, checked."""
    float_tensor(name, value)
    if value.ndim == 0 or value.shape[-1] != 4:
        raise ValueError(f"{name}: expected shape (..., 4), got {tuple(value.shape)}")
    leading = value.shape[:-1]
    float_tensor("points", points, shape=torch.Size((*leading, 2)), of=f"x and y for each of {name}")
    float_tensor("strides", strides, shape=leading, of=f"one for each of {name}")
    dtype = compute_dtype(value)
    return points.to(dtype), value.to(dtype), strides.to(dtype)
