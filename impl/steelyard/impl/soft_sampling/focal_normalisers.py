"""What the summed focal loss is divided by, without looking at a value: everything stays on the device.

Specification: `steelyard.reference.soft_sampling.focal_normalisers`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor
from steelyard.impl.collectives import summed

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


def normalise_focal_loss(
    losses: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    normaliser: str = "per_image_foreground",
    group: "ProcessGroup | None" = None,
) -> Tensor:
    """Loss of a mini-batch from the losses of its elements; those of all processes of the group add up to the loss.

    Shapes: `losses` float (B, N, ...), `labels` int (B, N) with C = background, -1 = ignore -> (); float32 for half
    inputs. With a `group`, B may be 0.
    Specification: `steelyard.reference.normalise_focal_loss`.
    """
    float_tensor("losses", losses)
    discrete_tensor("labels", labels, shape=losses.shape[:2], of="the first two axes of losses")
    if labels.ndim != 2 or (labels.shape[0] == 0 and group is None):
        raise ValueError(f"labels: expected shape (B, N) with B >= 1, got {tuple(labels.shape)}")
    if normaliser not in NORMALISERS:
        raise ValueError(f"normaliser: expected one of {', '.join(sorted(NORMALISERS))}, got {normaliser!r}")
    image_loss = losses.sum(dim=tuple(range(1, losses.ndim)), dtype=compute_dtype(losses))
    foreground = ((labels >= 0) & (labels < num_classes)).sum(dim=1)
    numerator, denominator = NORMALISERS[normaliser](image_loss, foreground)
    denominator = summed(denominator, group)
    if normaliser == "batch_foreground_plus_one":
        denominator = denominator + 1
    return numerator / denominator.clamp(min=1)


def _per_image_foreground(image_loss: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    return (image_loss / foreground.clamp(min=1)).sum(), torch.ones_like(foreground).sum()


def _batch_foreground(image_loss: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    return image_loss.sum(), foreground.sum()


def _batch_floored_foreground(image_loss: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    return image_loss.sum(), foreground.clamp(min=1).sum()


def _batch_foreground_plus_one(image_loss: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    return image_loss.sum(), foreground.sum()  # the one is added once, not on every process


def _detectron(image_loss: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    return image_loss.sum(), (foreground + 1).sum()


NORMALISERS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "per_image_foreground": _per_image_foreground,
    "batch_foreground": _batch_foreground,
    "batch_floored_foreground": _batch_floored_foreground,
    "batch_foreground_plus_one": _batch_foreground_plus_one,
    "detectron": _detectron,
}


def moving_average_foreground(
    previous: Tensor | float, foreground: Tensor, *, momentum: float = 0.9, group: "ProcessGroup | None" = None
) -> Tensor:
    """Running mean of the mini-batch's foreground count, over all processes of the group.

    Shapes: `previous` () or a number, `foreground` int (B,) -> ().
    Specification: `steelyard.reference.moving_average_foreground`.
    """
    if not isinstance(previous, Tensor) and not previous > 0:
        raise ValueError(f"previous: expected a number > 0, got {previous}")
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum: expected a number in [0, 1], got {momentum}")
    counts = summed(foreground.sum(), group)
    state = previous.to(foreground.device, torch.float64) if isinstance(previous, Tensor) else previous
    return momentum * state + (1.0 - momentum) * counts.clamp(min=1).to(torch.float64)
