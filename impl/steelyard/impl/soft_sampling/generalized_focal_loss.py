"""Generalized focal loss, and the detector's sum of quality focal, GIoU and distribution focal loss.

Specification: `steelyard.reference.soft_sampling.generalized_focal_loss`.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor, non_negative, one_of
from steelyard.impl.collectives import summed
from steelyard.impl.slices import in_slices
from steelyard.impl.soft_sampling.distribution_focal_loss import masked_distribution_focal_loss
from steelyard.impl.soft_sampling.quality_focal_loss import quality_focal_loss_with_labels
from steelyard.impl.soft_sampling.soft_target import check_labels_and_quality

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

BOX_NORMALISERS = ("floored_scores", "foreground", "scores")


def generalized_focal_loss(
    probabilities: Tensor, targets: Tensor, left: Tensor, right: Tensor, *, beta: float = 2.0
) -> Tensor:
    """Generalized focal loss of every element.

    Shapes: `probabilities` float (..., 2), `targets`, `left`, `right` float (...), constants -> (...); float32 for
    half inputs.
    Specification: `steelyard.reference.generalized_focal_loss`.
    """
    float_tensor("probabilities", probabilities)
    if probabilities.ndim == 0 or probabilities.shape[-1] != 2:
        raise ValueError(f"probabilities: expected shape (..., 2), got {tuple(probabilities.shape)}")
    for name, value in (("targets", targets), ("left", left), ("right", right)):
        float_tensor(name, value, shape=probabilities.shape[:-1], of="that of probabilities without its last axis")
    beta = non_negative("beta", beta)
    loss: Tensor = _GeneralizedFocalLoss.apply(probabilities, targets, left, right, beta)  # type: ignore[no-untyped-call]
    return loss


def generalized_focal_detection_loss(  # noqa: PLR0913 - equation 8 has that many parts
    class_logits: Tensor,
    labels: Tensor,
    quality: Tensor,
    distance_logits: Tensor,
    distance_targets: Tensor,
    giou_losses: Tensor,
    *,
    beta: float = 2.0,
    giou_weight: float = 2.0,
    distribution_weight: float = 0.25,
    box_normaliser: str = "floored_scores",
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Loss of a mini-batch: quality focal loss of all points, GIoU and distribution focal loss of the foreground.

    Both normalisers are those of all processes of the group, whose losses add up to the loss of the whole.
    Shapes: `class_logits` float (B, N, C), `labels` int (B, N), `quality` and `giou_losses` float (B, N),
    `distance_logits` float (B, N, 4, n + 1), `distance_targets` float (B, N, 4) -> (); float32 for half inputs.
    With a `group`, B may be 0.
    Specification: `steelyard.reference.generalized_focal_detection_loss`.
    """
    check_labels_and_quality(class_logits, labels, quality)
    if labels.ndim != 2 or (labels.shape[0] == 0 and group is None):
        raise ValueError(f"labels: expected shape (B, N) with B >= 1, got {tuple(labels.shape)}")
    float_tensor("giou_losses", giou_losses, shape=labels.shape, of="that of labels")
    sides = torch.Size((*labels.shape, 4))
    float_tensor("distance_targets", distance_targets, shape=sides, of="four sides for each label")
    float_tensor("distance_logits", distance_logits)
    if distance_logits.ndim != 4 or distance_logits.shape[:-1] != sides or distance_logits.shape[-1] < 2:
        raise ValueError(
            f"distance_logits: expected shape {(*sides, 'n + 1')} with n >= 1, got {tuple(distance_logits.shape)}"
        )
    giou_weight = non_negative("giou_weight", giou_weight)
    distribution_weight = non_negative("distribution_weight", distribution_weight)
    one_of("box_normaliser", box_normaliser, BOX_NORMALISERS)

    dtype = compute_dtype(class_logits)
    foreground = (labels >= 0) & (labels < class_logits.shape[-1])
    num_foreground = summed(foreground.sum(dim=1).clamp(min=1).sum(), group).clamp(min=1).to(dtype)
    quality_term = quality_focal_loss_with_labels(class_logits, labels, quality, beta=beta).sum() / num_foreground

    highest_score = class_logits.detach().amax(dim=-1).to(dtype).sigmoid()
    weights = torch.where(foreground, highest_score, 0.0)
    total = summed(weights.sum(), group)
    normaliser = {
        "floored_scores": total.clamp(min=1.0),
        "scores": torch.where(total > 0, total, 1.0),
        "foreground": num_foreground,
    }[box_normaliser]
    weights = weights / normaliser

    # select, do not multiply: what stands at points that are not foreground may be NaN
    giou = torch.where(foreground, giou_losses.to(dtype), 0.0)
    counted = foreground.unsqueeze(-1).expand(sides)
    distribution = masked_distribution_focal_loss(distance_logits, distance_targets, counted).mean(dim=-1)
    box_losses = giou_weight * giou + distribution_weight * distribution.to(dtype)
    return quality_term + (weights * box_losses).sum()


class _GeneralizedFocalLoss(torch.autograd.Function):
    """Keeps only its inputs; the two infinite terms at a probability of 0 never meet."""

    generate_vmap_rule = True

    @staticmethod
    def forward(probabilities: Tensor, targets: Tensor, left: Tensor, right: Tensor, beta: float) -> Tensor:
        def loss(*tensors: Tensor) -> Tensor:
            p, _, weights, error = _estimate(*tensors)
            return _product(error.abs().pow(beta), _cross_entropy(p, weights))

        return in_slices(loss, probabilities, targets, left, right, shared=targets.ndim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.beta = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradient(probabilities: Tensor, targets: Tensor, left: Tensor, right: Tensor, grad: Tensor) -> Tensor:
            derivative = _derivative(probabilities, targets, left, right, ctx.beta)
            return (grad.unsqueeze(-1) * derivative).to(probabilities.dtype)

        return in_slices(gradient, *ctx.saved_tensors, grad, shared=grad.ndim), None, None, None, None


def _derivative(probabilities: Tensor, targets: Tensor, left: Tensor, right: Tensor, beta: float) -> Tensor:
    p, values, weights, error = _estimate(probabilities, targets, left, right)
    distance = torch.where(error == 0, 1.0, error.abs())
    if beta == 2:  # the usual one, differentiable again where the estimate is right
        factor, slope_of_factor = error.square(), 2.0 * error
    else:  # 0 at error 0, where beta < 1 has no derivative; sign(0) is 0
        factor = error.abs().pow(beta) if beta == 0 else error.sign().abs() * distance.pow(beta)
        slope_of_factor = beta * error.sign() * distance.pow(beta - 1.0)
    by_factor = _product(slope_of_factor, _cross_entropy(p, weights)).unsqueeze(-1)
    by_log = _product(factor.unsqueeze(-1), torch.where(weights == 0, 0.0, weights / p))
    return torch.where(by_log.isinf(), -by_log, _product(values, by_factor) - by_log)


def _estimate(
    probabilities: Tensor, targets: Tensor, left: Tensor, right: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities and the two values (..., 2), the values' weights (..., 2), and estimate minus target (...)."""
    p = probabilities.to(compute_dtype(probabilities))
    values = torch.stack([left, right], dim=-1).to(p.dtype)
    y = targets.to(p.dtype)
    weights = (values - y.unsqueeze(-1)).abs().flip(-1)  # left weighs by the distance of the target from right
    return p, values, weights, (values * p).sum(dim=-1) - y


def _cross_entropy(p: Tensor, weights: Tensor) -> Tensor:
    """0 log 0 is 0, masked before the logarithm: afterwards its derivative would be NaN."""
    return -(weights * torch.where(weights == 0, 1.0, p).log()).sum(dim=-1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Product in which a factor of 0 annuls an infinite one."""
    return a * torch.where((a == 0) & b.isinf(), 0.0, b)
