"""Compositing: objects moved by affine maps and blended into backgrounds, a whole batch at once.

Specification: `steelyard.reference.generative.compositing`.
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from steelyard.impl.checks import compute_dtype, float_tensor, fraction
from steelyard.impl.device_numbers import device_numbers


def composite(
    foreground: Tensor, alpha: Tensor, background: Tensor, theta: Tensor, *, threshold: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Blend each object into its background where the affine map puts it, and give its box.

    Shapes: `foreground` float (B, C, h, w), `alpha` float (B, h, w), `background` float (B, C, H, W), `theta` float
    (B, 2, 3) -> float (B, C, H, W), int (B, 4). Values of `alpha` are not checked.
    Specification: `steelyard.reference.composite`.
    """
    float_tensor("background", background)
    if background.ndim != 4:
        raise ValueError(f"background: expected shape (B, C, H, W), got {tuple(background.shape)}")
    float_tensor("foreground", foreground)
    if foreground.ndim != 4 or foreground.shape[:2] != background.shape[:2]:
        batch, channels = background.shape[:2]
        raise ValueError(f"foreground: expected shape ({batch}, {channels}, h, w), got {tuple(foreground.shape)}")
    float_tensor("alpha", alpha, shape=foreground[:, 0].shape, of="that of foreground without its channels")
    float_tensor("theta", theta, shape=torch.Size((len(background), 2, 3)), of="one map for each of background")
    fraction("threshold", threshold)

    dtype = compute_dtype(background)
    (height, width), (rows, columns) = foreground.shape[2:], background.shape[2:]
    places = _places(theta.to(dtype), rows, columns)
    # grid_sample counts from -1 to 1 over the object; for one without a pixel there is nothing to divide by
    size = device_numbers((max(width, 1), max(height, 1)), dtype=dtype, device=places.device)
    grid = 2.0 * places / size - 1.0
    layers = torch.cat((foreground.to(dtype), alpha.to(dtype)[:, None]), dim=1)
    read = grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    colour, opacity = read[:, :-1], read[:, -1:]
    image = opacity * colour + (1.0 - opacity) * background.to(dtype)
    return image.to(background.dtype), _tight_box(opacity[:, 0] > threshold)


def _places(theta: Tensor, rows: int, columns: int) -> Tensor:
    """Where in the object each pixel of the background reads, (B, H, W, 2)."""
    v = torch.arange(rows, device=theta.device, dtype=theta.dtype)[:, None] + 0.5
    u = torch.arange(columns, device=theta.device, dtype=theta.dtype) + 0.5
    x, y = (row[:, 0, None, None] * u + row[:, 1, None, None] * v + row[:, 2, None, None] for row in theta.unbind(1))
    return torch.stack((x, y), dim=-1)


def _tight_box(seen: Tensor) -> Tensor:
    """x1, y1, x2, y2 of what is True, (B, 4); zeros where nothing is."""
    sides = []
    for axis in (1, 2):
        along = seen.any(dim=axis)  # first over the rows, which leaves columns
        place = torch.arange(along.shape[1], device=seen.device)
        low = torch.where(along, place, along.shape[1]).amin(dim=1)
        high = torch.where(along, place + 1, 0).amax(dim=1)
        sides.append((torch.minimum(low, high), high))
    (x1, x2), (y1, y2) = sides
    return torch.stack((x1, y1, x2, y2), dim=1)
