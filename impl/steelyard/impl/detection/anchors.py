"""Anchors on a grid.

Specification: `steelyard.reference.detection.anchors`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, float_tensor, fraction, non_negative, positive
from steelyard.impl.detection.boxes import box_tensor, size_tensor


def cell_anchors(sizes: Tensor, ratios: Tensor) -> Tensor:
    """Anchors of one cell, centred at the origin.

    Shapes: `sizes` float (S,), `ratios` float (R,) -> (S * R, 4), the ratio fastest; float32 for half inputs.
    Specification: `steelyard.reference.detection.anchors.cell_anchors`.
    """
    size, root = _vector("sizes", sizes)[:, None], _vector("ratios", ratios).sqrt()
    width, height = (size / root).flatten(), (size * root).flatten()
    return torch.stack([-width / 2, -height / 2, width / 2, height / 2], dim=1)


def grid_anchors(
    cell: Tensor, *, feature_height: int, feature_width: int, stride: float, offset: float = 0.0
) -> Tensor:
    """Anchors of one cell, repeated at every cell of a feature map.

    Shapes: `cell` float (A, 4) -> (feature_height * feature_width * A, 4), row by row; float32 for half inputs.
    Specification: `steelyard.reference.detection.anchors.grid_anchors`.
    """
    anchors = box_tensor("cell", cell)
    x, y = _centres(anchors, feature_height, feature_width, stride, offset)
    shift = torch.stack([x, y, x, y], dim=-1)
    return (shift[:, None] + anchors).reshape(-1, 4)


def grid_points(
    *,
    feature_height: int,
    feature_width: int,
    stride: float,
    offset: float = 0.5,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Centres of the cells of a feature map.

    Shapes: -> (feature_height * feature_width, 2), x and y, row by row.
    Specification: `steelyard.reference.detection.anchors.grid_points`.
    """
    like = torch.empty(0, dtype=dtype, device=device)
    return torch.stack(_centres(like, feature_height, feature_width, stride, offset), dim=-1)


def inside_image(boxes: Tensor, image_size: Tensor, *, border: float = 0.0) -> Tensor:
    """Which boxes do not cross the border of the image.

    Shapes: `boxes` float (..., N, 4), `image_size` (..., 2) height and width of each image -> bool (..., N).
    Specification: `steelyard.reference.detection.anchors.inside_image`.
    """
    box = box_tensor("boxes", boxes)
    limit = size_tensor("image_size", image_size, box.dtype).flip(-1).unsqueeze(-2) + non_negative("border", border)
    return (box[..., :2] >= -border).all(-1) & (box[..., 2:] <= limit).all(-1)


def _vector(name: str, value: Tensor) -> Tensor:
    float_tensor(name, value)
    if value.ndim != 1:
        raise ValueError(f"{name}: expected one axis, got {value.ndim}")
    return value.to(compute_dtype(value))


def _centres(like: Tensor, rows: int, columns: int, stride: float, offset: float) -> tuple[Tensor, Tensor]:
    """Coordinates x and y of the cells, shape (rows * columns,) each."""
    count("feature_height", rows, low=0)
    count("feature_width", columns, low=0)
    stride, offset = positive("stride", stride), fraction("offset", offset)
    y, x = ((torch.arange(n, dtype=like.dtype, device=like.device) + offset) * stride for n in (rows, columns))
    return x.repeat(rows), y.repeat_interleave(columns)
