"""Where the corners of a box may lie whose IoU with the unit square is at least a threshold.

Specification: `steelyard.reference.generative.feasible_region`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, float_tensor


def best_iou_of_corner(corners: Tensor) -> Tensor:
    """Highest IoU with the unit square of any box with this top-left corner.

    Shapes: `corners` float (..., 2), below 1 -> (...); float32 for half inputs.
    Specification: `steelyard.reference.best_iou_of_corner`.
    """
    corner = _corner_tensor(corners)
    inner = (1.0 - corner.clamp(min=0.0)).prod(dim=-1)
    return inner / (1.0 + (1.0 - corner).prod(dim=-1) - inner)


def second_corner_limits(corners: Tensor, minimum_iou: Tensor) -> Tensor:
    """Smallest rectangle around the region of the second corner, given the first.

    Shapes: `corners` float (..., 2), `minimum_iou` float (...) -> (..., 4): smallest x, y, largest x, y.
    Specification: `steelyard.reference.second_corner_limits`.
    """
    corner = _corner_tensor(corners)
    t = float_tensor("minimum_iou", minimum_iou, shape=corners.shape[:-1], of="one of each corner").to(corner.dtype)
    t, other = t.unsqueeze(-1), corner.flip(-1)
    x, y = corner.clamp(min=0.0), other.clamp(min=0.0)
    inner = (1.0 - x) * (1.0 - y)
    low = (t + (1 + t) * x * (1 - y) - t * corner * (1 - other)) / ((1 + t) * (1 - y) - t * (1 - other))
    high = corner + (inner / t - 1.0 + inner) / (1 - other)
    return torch.cat([low, high], dim=-1)


def _corner_tensor(corners: Tensor) -> Tensor:
    float_tensor("corners", corners)
    if corners.ndim == 0 or corners.shape[-1] != 2:
        raise ValueError(f"corners: expected shape (..., 2), got {tuple(corners.shape)}")
    return corners.to(compute_dtype(corners))
