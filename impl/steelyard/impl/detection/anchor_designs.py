"""The anchors of RetinaNet and of Faster R-CNN.

Specification: `steelyard.reference.detection.anchor_designs`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steelyard.impl.checks import count
from steelyard.impl.detection.anchors import cell_anchors, grid_anchors
from steelyard.impl.device_numbers import device_numbers

RATIOS = (0.5, 1.0, 2.0)
FASTER_RCNN_SIZES = (128.0, 256.0, 512.0)
FASTER_RCNN_STRIDE = 16
RETINANET_LEVELS = (3, 4, 5, 6, 7)
RETINANET_SCALE = 4.0
RETINANET_OCTAVES = (0, 1, 2)
PYRAMID_MULTIPLE = 32


class Anchors(NamedTuple):
    """Anchors of a pyramid: `boxes` (N, 4) and `levels` int64 (N,), 0 for the finest."""

    boxes: Tensor
    levels: Tensor


def retinanet_feature_sizes(*, height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of the feature maps P3 to P7, as numbers: shapes are static.

    Shapes: -> five pairs.
    Specification: `steelyard.reference.detection.anchor_designs.retinanet_feature_sizes`.
    """
    padded = [-(-count(name, side) // PYRAMID_MULTIPLE) * PYRAMID_MULTIPLE for name, side in _sides(height, width)]
    return [(-(-padded[0] // 2**level), -(-padded[1] // 2**level)) for level in RETINANET_LEVELS]


def retinanet_anchors(
    *,
    height: int,
    width: int,
    offset: float = 0.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Anchors:
    """All anchors of RetinaNet for an image.

    Shapes: -> `boxes` (N, 4), `levels` int64 (N,).
    Specification: `steelyard.reference.detection.anchor_designs.retinanet_anchors`.
    """
    boxes, levels = [], []
    sizes_of_levels = retinanet_feature_sizes(height=height, width=width)
    for index, (level, (rows, columns)) in enumerate(zip(RETINANET_LEVELS, sizes_of_levels, strict=True)):
        stride = 2.0**level
        sizes = [RETINANET_SCALE * stride * 2.0 ** (octave / 3) for octave in RETINANET_OCTAVES]
        cell = _cell(sizes, device)
        boxes.append(grid_anchors(cell, feature_height=rows, feature_width=columns, stride=stride, offset=offset))
        levels.append(torch.full((len(cell) * rows * columns,), index, device=device))
    return Anchors(torch.cat(boxes).to(dtype), torch.cat(levels))


def faster_rcnn_anchors(
    *,
    height: int,
    width: int,
    offset: float = 0.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """All anchors of Faster R-CNN's region proposal network for an image.

    Shapes: -> (N, 4).
    Specification: `steelyard.reference.detection.anchor_designs.faster_rcnn_anchors`.
    """
    rows, columns = (-(-count(name, side) // FASTER_RCNN_STRIDE) for name, side in _sides(height, width))
    stride = FASTER_RCNN_STRIDE
    cell = _cell(FASTER_RCNN_SIZES, device)
    return grid_anchors(cell, feature_height=rows, feature_width=columns, stride=stride, offset=offset).to(dtype)


def _cell(sizes: Sequence[float], device: torch.device | str | None) -> Tensor:
    """In float64: an anchor is rounded once, when it is complete."""
    numbers = device_numbers([*sizes, *RATIOS], dtype=torch.float64, device=device)
    return cell_anchors(numbers[: len(sizes)], numbers[len(sizes) :])


def _sides(height: int, width: int) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("height", height), ("width", width)
