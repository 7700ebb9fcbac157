"""Distribution focal loss: one exp of every bin and pass, the two bins beside the target apart.

Specification: `steelyard.reference.soft_sampling.distribution_focal_loss`.
"""

from typing import Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.shares_besides import at_own, besides_own, exp_besides_own, in_place, is_own


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
    loss: Tensor
    loss, *_ = _DistributionFocalLoss.apply(logits, targets, counted)  # type: ignore[no-untyped-call]
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
    """Keeps the logits, the targets and the mask, and of every side three numbers that spare the sums over its bins."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        def loss(logits: Tensor, targets: Tensor, *counted: Tensor) -> tuple[Tensor, ...]:
            z = logits.to(compute_dtype(logits))
            near, far, w_far = _two_bins(targets.to(z.dtype).unsqueeze(-1), num_bins=z.shape[-1])
            highest = z.amax(dim=-1, keepdim=True)
            if torch.compiler.is_compiling():
                z_near = at_own(near, z).sum(dim=-1, keepdim=True)
                z_far = at_own(far, z).sum(dim=-1, keepdim=True)
                below, e = z_near - highest, besides_own(near, (z - highest).exp())
            else:
                near_bin = near.to(torch.int64)
                z_near, z_far = z.gather(-1, near_bin), z.gather(-1, far.to(torch.int64))
                below = z_near - highest
                e = exp_besides_own(z, highest, near_bin, below)
            others = e.sum(dim=-1, keepdim=True)
            # the highest share is 1, and not added: the logarithm of a share near 1 keeps its digits
            nearest = (others + (below.exp() - 1.0)).log1p() - below
            values = torch.addcmul(nearest, w_far, z_near - z_far)
            return _masked(values.squeeze(-1), *counted), highest, others, below

        tensors = (logits, targets) if counted is None else (logits, targets, counted)
        values, highest, others, below = in_slices(loss, *tensors, shared=targets.ndim)
        return values, highest, others, below

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        if grad is None:
            return None, None, None

        def gradient(logits: Tensor, targets: Tensor, grad: Tensor, *rows: Tensor) -> Tensor:
            highest, others, below, *counted = rows
            z, grad = logits.to(compute_dtype(logits)), grad.unsqueeze(-1)
            near, far, w_far = _two_bins(targets.to(z.dtype).unsqueeze(-1), num_bins=z.shape[-1])
            if in_place():
                near_bin = near.to(torch.int64)
                e = exp_besides_own(z, highest, near_bin, below, grad)
            else:
                e = besides_own(near, (z - highest).exp())
                if not torch.compiler.is_compiling():  # recorded: both depend on the logits
                    others, below = e.sum(dim=-1, keepdim=True), at_own(near, z - highest).sum(dim=-1, keepdim=True)
            of_far, per_total = grad * w_far, grad / (others + below.exp())
            # share - w_near as w_far - (1 - share), with 1 - share from the others: nothing cancels if both are near 1
            of_near = torch.addcmul(of_far, per_total, others, value=-1.0)
            if in_place():
                derivative = e.mul_(per_total).scatter_add_(-1, near_bin, of_near)
                derivative = derivative.scatter_add_(-1, far.to(torch.int64), -of_far)
            else:
                of_bins = e * per_total - at_own(far, of_far.expand(e.shape))
                derivative = torch.where(is_own(near, e), of_near, of_bins)
            return _masked(derivative, *(mask.unsqueeze(-1) for mask in counted)).to(logits.dtype)

        logits, targets, counted, *rows = ctx.saved_tensors
        tensors = [logits, targets, grad, *rows] if counted is None else [logits, targets, grad, *rows, counted]
        return in_slices(gradient, *tensors, shared=targets.ndim), None, None


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
    """The bin nearest to y, the one beyond y and its weight; the same bin, with weight 0, where y is a bin.

    As floats, which compare fast; clamped, so that no target reads out of bounds.
    """
    n = num_bins - 1
    y = y.detach()
    near = y.round().clamp(0, n).nan_to_num(0.0)
    beyond = y - near
    return near, (near + beyond.sign()).clamp(0, n).nan_to_num(0.0), beyond.abs()


def _below_highest(logits: Tensor) -> Tensor:
    z = logits.to(compute_dtype(logits))
    return z - z.detach().amax(dim=-1, keepdim=True)


def _bins(z: Tensor) -> Tensor:
    return torch.arange(z.shape[-1], device=z.device)


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
