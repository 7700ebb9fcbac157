"""The bounding box generator for any number of boxes at once: all tries are made, the first that is accepted counts.

Specification: `steelyard.reference.generative.box_generator`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import float_tensor
from steelyard.impl.detection.box_overlaps import iou_of
from steelyard.impl.detection.boxes import box_tensor
from steelyard.impl.generative.feasible_region import best_iou_of_corner, second_corner_limits


def generate_boxes(
    boxes: Tensor, minimum_ious: Tensor, coin_keys: Tensor, first_keys: Tensor, second_keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw a box for each reference box, with an IoU of at least the minimum, by explicit keys in [0, 1).

    Shapes: `boxes` float (..., 4), `minimum_ious`, `coin_keys` float (...), `first_keys`, `second_keys` float
    (..., R, 2) -> (..., 4) and their IoU (...). Specification: `steelyard.reference.generate_boxes`.
    """
    box = box_tensor("boxes", boxes)
    shape = box.shape[:-1]
    float_tensor("minimum_ious", minimum_ious, shape=shape, of="one of each box")
    float_tensor("coin_keys", coin_keys, shape=shape, of="one of each box")
    tries_tensor("first_keys", first_keys, shape)
    tries_tensor("second_keys", second_keys, shape)

    drawn, iou = boxes_in_64_bits(box.double(), minimum_ious.double(), coin_keys, first_keys, second_keys)
    return drawn.to(box.dtype), iou.to(box.dtype)


def tries_tensor(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """Keys of the tries of a corner: R pairs for each box of the given shape."""
    float_tensor(name, value)
    if value.ndim != len(shape) + 2 or value.shape[:-2] != shape or value.shape[-1] != 2:
        raise ValueError(f"{name}: expected shape {(*shape, 'R', 2)}, got {tuple(value.shape)}")
    return value


def boxes_in_64_bits(
    box: Tensor, t: Tensor, coin_keys: Tensor, first_keys: Tensor, second_keys: Tensor
) -> tuple[Tensor, Tensor]:
    """The boxes and their IoUs. What is accepted hangs on a comparison: 64 bits, so that it is what the oracle does."""
    t_of_try = t.unsqueeze(-1)
    lowest = 1.0 - 1.0 / t_of_try.unsqueeze(-1)
    tries = lowest + first_keys.double() * (1.0 - t_of_try.unsqueeze(-1) - lowest)
    corner = _first_accepted(tries, best_iou_of_corner(tries) >= t_of_try, 0.0)

    limit = second_corner_limits(corner, t).unsqueeze(-2)
    tries = limit[..., :2] + second_keys.double() * (limit[..., 2:] - limit[..., :2])
    candidates = torch.cat([corner.unsqueeze(-2).expand(tries.shape), tries], dim=-1)
    unit = (torch.arange(4, device=box.device) >= 2).double()
    other = _first_accepted(tries, iou_of(candidates, unit) >= t_of_try, 1.0)

    straight, mirrored = torch.cat([corner, other], dim=-1), torch.cat([1.0 - other, 1.0 - corner], dim=-1)
    in_frame = torch.where((coin_keys < 0.5).unsqueeze(-1), straight, mirrored)
    origin, size = box[..., :2], box[..., 2:] - box[..., :2]
    drawn = torch.cat([origin, origin], dim=-1) + torch.cat([size, size], dim=-1) * in_frame
    drawn = torch.where((size > 0.0).all(dim=-1, keepdim=True), drawn, box)
    return drawn, iou_of(drawn, box)


def _first_accepted(tries: Tensor, accepted: Tensor, otherwise: float) -> Tensor:
    """Of tries (..., R, 2) the first that is accepted (..., R), and if none is, a corner of the unit square."""
    # one more try that is always accepted; argmax gives the first of equal ones
    corner = torch.full((*tries.shape[:-2], 1, 2), otherwise, dtype=tries.dtype, device=tries.device)
    always = torch.ones((*accepted.shape[:-1], 1), dtype=torch.uint8, device=tries.device)
    first = torch.cat([accepted.byte(), always], dim=-1).argmax(dim=-1)
    index = first[..., None, None].expand(*first.shape, 1, 2)
    return torch.cat([tries, corner], dim=-2).gather(-2, index).squeeze(-2)
