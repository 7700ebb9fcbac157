"""Class-aware sampling: one sort of all keys of an epoch by class, cycle and key, then one gather.

Specification: `steelyard.reference.foreground_balance.class_aware_sampling`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor


def class_aware_order(
    labels: Tensor,
    class_keys: Tensor,
    image_keys: Tensor,
    *,
    num_classes: int,
    images_per_class: int = 1,
    epoch_length: int | None = None,
) -> Tensor:
    """The order of one epoch, by explicit random keys in [0, 1).

    Shapes: `labels` int (N, M), -1 fills up, `class_keys` float (P, C), `image_keys` float (C P s + N M,) with s
    images a class -> int64 (epoch_length,); -1 where no image has an object.
    Specification: `steelyard.reference.class_aware_order`.
    """
    discrete_tensor("labels", labels, shape=labels.shape, of="its own")
    if labels.ndim != 2:
        raise ValueError(f"labels: expected shape (N, M), got {tuple(labels.shape)}")
    count("num_classes", num_classes)
    count("images_per_class", images_per_class)
    length = labels.shape[0] if epoch_length is None else count("epoch_length", epoch_length, low=0)
    float_tensor("class_keys", class_keys)
    if class_keys.ndim != 2 or class_keys.shape[1] != num_classes:
        raise ValueError(f"class_keys: expected shape (P, {num_classes}), got {tuple(class_keys.shape)}")
    passes = class_keys.shape[0]
    if length > passes * num_classes * images_per_class:
        raise ValueError(f"class_keys: {passes} passes do not fill {length} places")
    wanted = passes * images_per_class
    needed = torch.Size([num_classes * wanted + labels.numel()])
    float_tensor("image_keys", image_keys, shape=needed, of="C P images_per_class + N M")

    pairs, sizes = _images_by_class(labels, num_classes)
    first_pair = sizes.cumsum(0) - sizes
    block = sizes + wanted
    last_key = block.cumsum(0)
    first_key = last_key - block

    # every key has a class, a cycle of that class, and a place in the cycle; those left over have class C
    place = torch.arange(image_keys.shape[0], device=labels.device)
    owner = torch.searchsorted(last_key, place, right=True)
    own = owner.clamp(max=num_classes - 1)
    within = place - first_key[own]
    size = sizes[own].clamp(min=1)
    group = owner * (wanted + labels.shape[0] + 1) + within // size
    by_key = image_keys.argsort(stable=True)
    stream = by_key[group[by_key].argsort(stable=True)]  # places, cycle by cycle, in the order of their keys

    present = sizes > 0
    classes = class_keys.masked_fill(~present, 2.0).argsort(dim=1, stable=True)  # keys are below 1: absent ones last
    turn = torch.arange(length, device=labels.device)
    in_a_pass = (present.sum() * images_per_class).clamp(min=1)
    number = (turn // in_a_pass).clamp(max=max(passes - 1, 0))
    within_pass = turn % in_a_pass
    drawn_class = classes[number, within_pass // images_per_class]
    draw = number * images_per_class + within_pass % images_per_class
    chosen = stream[first_key[drawn_class] + draw]
    rank = (chosen - first_key[drawn_class]) % sizes[drawn_class].clamp(min=1)
    none = pairs.new_full((1,), -1)
    return torch.cat([pairs, none])[(first_pair[drawn_class] + rank).clamp(max=pairs.shape[0])]


def _images_by_class(labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images of class 0 in their order, then those of class 1 and so on, (N M,), at the end -1; sizes (C,)."""
    slot = labels.long().where(labels >= 0, num_classes).sort(dim=1).values
    again = torch.zeros_like(slot, dtype=torch.bool)
    again[:, 1:] = slot[:, 1:] == slot[:, :-1]
    slot = slot.masked_fill(again, num_classes).flatten()
    by_class = slot.argsort(stable=True)
    image = torch.arange(labels.shape[0], device=labels.device).unsqueeze(1).expand(labels.shape).flatten()
    sizes = torch.zeros(num_classes + 1, dtype=torch.long, device=labels.device)
    sizes = sizes.index_add(0, slot, torch.ones_like(slot))[:num_classes]
    return image[by_class].masked_fill(slot[by_class] == num_classes, -1), sizes
