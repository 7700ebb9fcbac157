"""Random draws without replacement, made of explicit uniform keys, for whole batches: sorts, no index lists.

Specification: `steelyard.reference.hard_sampling.keyed_draws`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import float_tensor


def key_tensor(name: str, value: Tensor) -> Tensor:
    """Keys (..., N)."""
    float_tensor(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., N), got ()")
    return value


def smallest_keys(keys: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """The members of a group with the smallest keys: `number` (..., 1), or all if there are fewer."""
    order = keys.masked_fill(~group, 2.0).sort(dim=-1, stable=True).indices  # keys are below 1: all others come last
    drawn = (torch.arange(keys.shape[-1], device=keys.device) < number).expand(keys.shape)
    return torch.zeros_like(group).scatter(-1, order, drawn) & group


def draw_by_groups(groups: Tensor, keys: Tensor, fill_keys: Tensor, *, quota: Tensor, total: Tensor) -> Tensor:
    """At most `quota` (..., 1) of each group (-1: of none), then of all alike to make up `total` (..., 1).

    One of the two draws by `fill_keys` is empty: either nobody is dropped or nobody joins.
    """
    members = groups >= 0
    drawn = members & (rank_in_group(groups, keys) < quota)
    taken = drawn.sum(dim=-1, keepdim=True)
    stay = smallest_keys(fill_keys, drawn, total)
    join = smallest_keys(fill_keys, members & ~drawn, total - taken)
    return torch.where(taken > total, stay, drawn | join)


def rank_in_group(groups: Tensor, keys: Tensor) -> Tensor:
    """How many members of its own group have a smaller key, or an equal one before it.

    Two stable sorts put each group in a row, by keys; where it begins is where the group itself would be inserted.
    """
    by_key = keys.sort(dim=-1, stable=True).indices
    sorted_groups, by_group = groups.gather(-1, by_key).sort(dim=-1, stable=True)
    place = torch.arange(keys.shape[-1], device=keys.device)
    rank = place - torch.searchsorted(sorted_groups, sorted_groups)
    return torch.zeros_like(rank).scatter(-1, by_key.gather(-1, by_group), rank)
