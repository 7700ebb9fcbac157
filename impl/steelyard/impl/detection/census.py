"""Census of whole batches, in integers that stay on the device.

Specification: `steelyard.reference.detection.census`.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor
from steelyard.impl.collectives import summed

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


class Census(NamedTuple):
    """Counts, int64: the first five (...), `by_level` (..., L, 3), `by_class` and `images_by_class` (..., C)."""

    images: Tensor
    images_without_foreground: Tensor
    background: Tensor
    ignored: Tensor
    foreground: Tensor
    by_level: Tensor
    by_class: Tensor
    images_by_class: Tensor


def count_labels(
    labels: Tensor,
    *,
    num_classes: int,
    levels: Tensor | None = None,
    num_levels: int = 1,
    mask: Tensor | None = None,
) -> Census:
    """Census of every image by itself; `total_census` adds them.

    Shapes: `labels` int (..., N), `levels` int (..., N) or (N,), `mask` bool (..., N) or (N,), False for padding.
    Specification: `steelyard.reference.detection.census.count_labels`.
    """
    count("num_classes", num_classes)
    count("num_levels", num_levels)
    discrete_tensor("labels", labels, shape=labels.shape, of="")
    if labels.ndim == 0:
        raise ValueError("labels: expected shape (..., N), got ()")
    # one slot for each level and label (ignored is slot C + 1), one for what is not counted; bincount would wait
    slots = num_classes + 2
    label = labels.to(torch.int64)
    slot = torch.where(label < 0, num_classes + 1, label)
    if levels is not None:
        slot = slot + slots * _alike("levels", levels, labels).to(torch.int64)
    if mask is not None:
        slot = torch.where(_alike("mask", mask, labels).to(torch.bool), slot, slots * num_levels)
    counts = torch.zeros((*labels.shape[:-1], slots * num_levels + 1), dtype=torch.int64, device=labels.device)
    counts = counts.scatter_add(-1, slot, torch.ones_like(slot))[..., :-1].reshape(
        *labels.shape[:-1], num_levels, slots
    )

    by_class = counts[..., :num_classes].sum(-2)
    foreground = counts[..., :num_classes].sum(-1)
    by_level = torch.stack([counts[..., num_classes], counts[..., num_classes + 1], foreground], dim=-1)
    background, ignored, total = by_level.sum(-2).unbind(-1)
    return Census(
        images=torch.ones_like(total),
        images_without_foreground=(total == 0).to(torch.int64),
        background=background,
        ignored=ignored,
        foreground=total,
        by_level=by_level,
        by_class=by_class,
        images_by_class=(by_class > 0).to(torch.int64),
    )


def empty_census(*, num_classes: int, num_levels: int = 1, device: torch.device | str | None = None) -> Census:
    """Census of no image, with which a sum begins.

    Shapes: -> those of one image.
    Specification: `steelyard.reference.detection.census.empty_census`.
    """
    count("num_classes", num_classes)
    count("num_levels", num_levels)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    by_class = zeros(num_classes), zeros(num_classes)
    return Census(zeros(), zeros(), zeros(), zeros(), zeros(), zeros(num_levels, 3), *by_class)


def add_census(census: Census, other: Census) -> Census:
    """Census of the images of both.

    Shapes: any that broadcast, field by field.
    Specification: `steelyard.reference.detection.census.add_census`.
    """
    if census.by_class.shape[-1] != other.by_class.shape[-1] or census.by_level.shape[-2] != other.by_level.shape[-2]:
        raise ValueError("census: expected the same numbers of classes and of levels in both")
    return Census(*(one + another for one, another in zip(census, other, strict=True)))


def total_census(census: Census, *, group: "ProcessGroup | None" = None) -> Census:
    """Census of all images of a batch, and of those of all processes of the group.

    Shapes: those of `count_labels` -> without the batch axes.
    Specification: `steelyard.reference.detection.census.total_census`.
    """
    axes = tuple(range(census.images.ndim))
    totals = [field.sum(axes) for field in census] if axes else list(census)
    if group is None:
        return Census(*totals)
    together = summed(torch.cat([total.flatten() for total in totals]), group)
    parts = together.split_with_sizes([total.numel() for total in totals])
    return Census(*(part.view(total.shape) for part, total in zip(parts, totals, strict=True)))


def _alike(name: str, value: Tensor, labels: Tensor) -> Tensor:
    shape = labels.shape if value.ndim == labels.ndim else labels.shape[-1:]
    return discrete_tensor(name, value, shape=shape, of="that of labels, or its last axis").expand(labels.shape)
