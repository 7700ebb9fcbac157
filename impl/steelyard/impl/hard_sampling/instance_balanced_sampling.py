"""Instance-balanced positives of a whole batch: ranks inside each object by two sorts, no loop over objects.

Specification: `steelyard.reference.hard_sampling.instance_balanced_sampling`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import count, discrete_tensor, float_tensor
from steelyard.impl.hard_sampling.keyed_draws import draw_by_groups, key_tensor


def instance_balanced_positives(
    instances: Tensor, keys: Tensor, fill_keys: Tensor, *, num_positives: int = 128
) -> Tensor:
    """Draw the positives of each image, balanced over the objects they belong to, by explicit keys in [0, 1).

    Shapes: `instances` int (..., N) with -1 = no positive, or padding, `keys`, `fill_keys` float (..., N)
    -> bool (..., N).
    Specification: `steelyard.reference.instance_balanced_positives`.
    """
    key_tensor("keys", keys)
    float_tensor("fill_keys", fill_keys, shape=keys.shape, of="that of keys")
    discrete_tensor("instances", instances, shape=keys.shape, of="that of keys")
    count("num_positives", num_positives, low=0)

    in_order = instances.sort(dim=-1).values
    begins = torch.ones_like(in_order, dtype=torch.bool)
    begins[..., 1:] = in_order[..., 1:] != in_order[..., :-1]
    objects = (begins & (in_order >= 0)).sum(dim=-1, keepdim=True).clamp(min=1)
    quota = (num_positives / objects.double()).round().long() + 1  # round goes to even, as the specification does
    total = (instances >= 0).sum(dim=-1, keepdim=True).clamp(max=num_positives)
    return draw_by_groups(instances, keys, fill_keys, quota=quota, total=total)
