"""Instance switching (PSIS): which pairs of objects may change places, and the images in which they did, all at once.

Specification: `steelyard.reference.generative.instance_switching`.
"""

import math

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, discrete_tensor, float_tensor, fraction, positive

_SIDE = math.exp(-1.0 / 8.0)
_EDGE, _MIDDLE = _SIDE / (1.0 + 2.0 * _SIDE), 1.0 / (1.0 + 2.0 * _SIDE)


def switch_eligibility(  # noqa: PLR0913 - an object is described by five arrays
    masks: Tensor,
    boxes: Tensor,
    labels: Tensor,
    image_index: Tensor,
    crowd: Tensor,
    pairs: Tensor,
    *,
    min_size_ratio: float = 0.3,
    max_size_ratio: float = 3.0,
    max_difference: float = 0.3,
) -> Tensor:
    """Which pairs of objects may be switched.

    Shapes: `masks` bool (N, H, W), `boxes` int (N, 4), `labels`, `image_index`, `crowd` (N,), `pairs` int (P, 2)
    -> bool (P,). Boxes on the canvas and pairs below N are not checked.
    Specification: `steelyard.reference.switch_eligibility`.
    """
    _check_objects(masks, boxes, pairs)
    for name, value in (("labels", labels), ("image_index", image_index), ("crowd", crowd)):
        discrete_tensor(name, value, shape=boxes.shape[:1], of="one of each of boxes")
    positive("min_size_ratio", min_size_ratio)
    positive("max_size_ratio", max_size_ratio)
    fraction("max_difference", max_difference)

    first, second = pairs.long().unbind(1)
    mask, to, came_from = masks.bool(), boxes.long()[first], boxes.long()[second]
    inside = _inside(to, mask.shape)
    own = mask[first] & inside
    other = _nearest(mask, second, to, came_from) & inside
    differing, own_pixels, other_pixels = ((m.sum(dim=(1, 2))).double() for m in (own ^ other, own, other))
    size_ratio = _area(to).double() / _area(came_from).double()  # no area: 0, infinite or NaN, never eligible below
    alone = (image_index[first] != image_index[second]) & ~(crowd.bool()[first] | crowd.bool()[second])
    return (
        alone
        & (labels[first] == labels[second])
        & (_area(to) > 0) & (_area(came_from) > 0) & (own_pixels > 0) & (other_pixels > 0) & (differing > 0)
        & (size_ratio >= min_size_ratio) & (size_ratio <= max_size_ratio)
        & (differing / own_pixels <= max_difference) & (differing / other_pixels <= max_difference)
    )  # fmt: skip


def switch_instances(
    images: Tensor, masks: Tensor, boxes: Tensor, image_index: Tensor, pairs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The two images of each pair after their objects were exchanged, and boxes and images of all objects then.

    Shapes: `images` float (I, C, H, W), `masks` bool (N, H, W), `boxes` int (N, 4), `image_index` int (N,), `pairs`
    int (P, 2) -> float (P, 2, C, H, W), int (P, N, 4), int (P, N). Values of boxes and indices are not checked.
    Specification: `steelyard.reference.switch_instances`.
    """
    float_tensor("images", images)
    _check_objects(masks, boxes, pairs)
    if images.ndim != 4 or images.shape[2:] != masks.shape[1:]:
        raise ValueError(
            f"images: expected shape (I, C, {masks.shape[1]}, {masks.shape[2]}), got {tuple(images.shape)}"
        )
    discrete_tensor("image_index", image_index, shape=boxes.shape[:1], of="one of each of boxes")

    goes, comes = pairs.long().flatten(), pairs.long().flip(1).flatten()
    to, came_from = boxes.long()[goes], boxes.long()[comes]
    index = image_index.long()
    dtype = compute_dtype(images)
    before = images[index[goes]].to(dtype)
    colour = _linear(images.to(dtype), index[comes], to, came_from)
    alpha = _smooth(_nearest(masks.bool(), comes, to, came_from).to(dtype), to)
    alpha = (alpha * _inside(to, masks.shape))[:, None]
    made = (alpha * colour + (1.0 - alpha) * before).to(images.dtype)

    order = torch.arange(len(boxes), device=boxes.device).expand(len(pairs), -1)
    order = order.scatter(1, pairs.long(), pairs.long().flip(1))
    return made.reshape(len(pairs), 2, *images.shape[1:]), boxes.long()[order], index[order]


def _inside(box: Tensor, shape: torch.Size) -> Tensor:
    """Pixels of the canvas in each box, (Q, H, W)."""
    rows, columns = torch.arange(shape[1], device=box.device), torch.arange(shape[2], device=box.device)
    x1, y1, x2, y2 = box[:, :, None].unbind(1)
    return ((rows >= y1) & (rows < y2))[:, :, None] & ((columns >= x1) & (columns < x2))[:, None, :]


def _nearest(masks: Tensor, which: Tensor, to: Tensor, came_from: Tensor) -> Tensor:
    """Masks of the objects `which`, brought from one box to another; outside of the box anything, (Q, H, W)."""
    places = []
    for axis, cells in ((1, masks.shape[1]), (0, masks.shape[2])):
        twice, new, old, start = _twice_the_place(to, came_from, axis, cells)
        places.append((start + torch.div(twice, 2 * new, rounding_mode="floor").clamp(max=old - 1)).clamp(0, cells - 1))
    rows, columns = places
    return masks[which[:, None, None], rows[:, :, None], columns[:, None, :]]


def _linear(images: Tensor, which: Tensor, to: Tensor, came_from: Tensor) -> Tensor:
    """Colours of the images `which`, brought from one box to another; outside of the box anything, (Q, C, H, W)."""
    neighbours = []
    for axis, cells in ((1, images.shape[2]), (0, images.shape[3])):
        twice, new, old, start = _twice_the_place(to, came_from, axis, cells)
        place = (twice - new).clamp(min=0)  # in units of 1 / (2 new): whole numbers, so that no rounding moves a pixel
        place = torch.minimum(place, 2 * new * (old - 1))
        before = torch.div(place, 2 * new, rounding_mode="floor")
        share = (place - 2 * new * before).to(images.dtype) / (2 * new).to(images.dtype)
        after = torch.minimum(before + 1, old - 1)
        neighbours.append(((start + before).clamp(0, cells - 1), (start + after).clamp(0, cells - 1), share))
    (above, below, down), (left, right, across) = neighbours
    pictures = images.movedim(1, -1)  # so that the channels come along with each pixel
    which = which[:, None, None]

    def row(places: Tensor, columns: Tensor) -> Tensor:
        return pictures[which, places[:, :, None], columns[:, None, :]]

    down, across = down[:, :, None, None], across[:, None, :, None]
    left_column = (1.0 - down) * row(above, left) + down * row(below, left)
    right_column = (1.0 - down) * row(above, right) + down * row(below, right)
    return ((1.0 - across) * left_column + across * right_column).movedim(-1, 1)


def _twice_the_place(to: Tensor, came_from: Tensor, axis: int, cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(2 i + 1) old of each row or column of the canvas, the sizes new and old (at least 1), and where old starts."""
    new = (to[:, axis + 2] - to[:, axis]).clamp(min=1)[:, None]
    old = (came_from[:, axis + 2] - came_from[:, axis]).clamp(min=1)[:, None]
    i = (torch.arange(cells, device=to.device) - to[:, axis, None]).clamp(min=0)
    return (2 * i + 1) * old, new, old, came_from[:, axis, None]


def _smooth(masks: Tensor, box: Tensor) -> Tensor:
    """A Gaussian of three by three inside of each box, mirrored at its edges."""
    for axis in (1, 0):
        cells, along = masks.shape[2 - axis], 2 - axis
        first, last = box[:, axis, None], (box[:, axis + 2, None] - 1)
        here = torch.arange(cells, device=box.device)
        back, ahead = here - 1 + 2 * (here == first), here + 1 - 2 * (here == last)
        # of a single row there is no other; outside of the box anything
        shape = (-1, 1, cells) if axis == 0 else (-1, cells, 1)
        neighbours = (
            masks.gather(along, place.clamp(0, cells - 1).minimum(last).maximum(first).clamp(0, cells - 1)
                         .view(shape).expand_as(masks))
            for place in (back, ahead)
        )  # fmt: skip
        masks = _EDGE * sum(neighbours) + _MIDDLE * masks
    return masks


def _area(box: Tensor) -> Tensor:
    return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])


def _check_objects(masks: Tensor, boxes: Tensor, pairs: Tensor) -> None:
    if masks.ndim != 3:
        raise ValueError(f"masks: expected shape (N, H, W), got {tuple(masks.shape)}")
    discrete_tensor("masks", masks, shape=masks.shape, of="its own")
    discrete_tensor("boxes", boxes, shape=torch.Size((len(masks), 4)), of="one of each of masks")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs: expected shape (P, 2), got {tuple(pairs.shape)}")
    discrete_tensor("pairs", pairs, shape=pairs.shape, of="its own")
