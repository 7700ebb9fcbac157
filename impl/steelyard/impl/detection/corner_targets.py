"""Targets of corner heat maps, for whole batches.

Specification: `steelyard.reference.detection.corner_targets`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor


def corner_radius(heights: Tensor, widths: Tensor, *, minimum_iou: float = 0.3) -> Tensor:
    """How far the corners of a box may move until its IoU can fall below `minimum_iou`.

    Shapes: `heights`, `widths` float (...,) -> (...,), not rounded; float32 for half inputs.
    Specification: `steelyard.reference.detection.corner_targets.corner_radius`.
    """
    float_tensor("heights", heights)
    float_tensor("widths", widths, shape=heights.shape, of="that of heights")
    if not 0.0 < minimum_iou < 1.0:
        raise ValueError(f"minimum_iou: expected a number strictly between 0 and 1, got {minimum_iou}")
    t = minimum_iou
    h, w = heights.to(compute_dtype(heights)), widths.to(compute_dtype(widths))
    b, q, squared_difference = h + w, h * w, (h - w) ** 2
    c = (1 - t) * q
    # r = c / (b + root) instead of (b - root) / 2a, which cancels for long boxes
    r_1 = 2 * c / (1 + t) / (b + torch.sqrt(squared_difference + 8 * q * t / (1 + t)))
    r_2 = c / (b + torch.sqrt(squared_difference + 4 * q * t))
    r_3 = c / (t * b + torch.sqrt((t * b) ** 2 + 4 * q * t * (1 - t)))
    return torch.where(b > 0, torch.minimum(torch.minimum(r_1, r_2), r_3), 0.0)


def corner_heat_map(
    points: Tensor,
    labels: Tensor,
    radii: Tensor,
    *,
    num_classes: int,
    height: int,
    width: int,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Target of a heat map: a Gaussian bump around every corner.

    Shapes: `points` int (..., M, 2) x and y, `labels` int (..., M) with -1 for padding, `radii` int (..., M)
    -> (..., num_classes, height, width).
    Specification: `steelyard.reference.detection.corner_targets.corner_heat_map`.
    """
    for name, number in (("num_classes", num_classes), ("height", height), ("width", width)):
        count(name, number)
    discrete_tensor("points", points, shape=torch.Size((*labels.shape, 2)), of="that of labels, and x and y")
    discrete_tensor("radii", radii, shape=labels.shape, of="that of labels")
    dx = (torch.arange(width, device=points.device) - points[..., :1]).unsqueeze(-2)
    dy = (torch.arange(height, device=points.device) - points[..., 1:]).unsqueeze(-1)
    radius = radii[..., None, None]
    # 2 sigma^2 = (2r + 1)^2 / 18: whole numbers until the one division
    bump = torch.exp((-18 * (dx**2 + dy**2)).to(dtype) / ((2 * radius + 1) ** 2).to(dtype))
    bump = torch.where((dx.abs() <= radius) & (dy.abs() <= radius), bump, 0.0)
    # a further class takes the padding in, and is cut off
    slot = torch.where(labels >= 0, labels, num_classes).to(torch.int64)[..., None, None].expand(bump.shape)
    heat = torch.zeros((*labels.shape[:-1], num_classes + 1, height, width), dtype=dtype, device=points.device)
    return heat.scatter_reduce(-3, slot, bump, "amax")[..., :num_classes, :, :]
