"""Random draws without replacement, made of explicit uniform keys, for whole batches: no index lists.

Specification: `steelyard.reference.hard_sampling.keyed_draws`.
"""

import torch
from torch import Tensor

from steelyard.impl import cpu_operators
from steelyard.impl.checks import float_tensor
from steelyard.impl.hard_sampling.selection_by_digits import lowest_by_digits
from steelyard.impl.hard_sampling.selection_in_rows import lowest_in_rows, lowest_of_groups_in_rows

FEW_GROUPS = 8


def key_tensor(name: str, value: Tensor) -> Tensor:
    """Keys (..., N)."""
    float_tensor(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., N), got ()")
    return value


def smallest_keys(keys: Tensor, group: Tensor, number: Tensor, *, limit: int | None = None) -> Tensor:
    """The members of a group with the smallest keys, of equal ones the first: `number` (..., 1), or all if fewer.

    A `limit` that `number` never exceeds makes it fast on a GPU.
    Shapes: `keys` float (..., N), `group` bool (..., N) -> bool (..., N).
    """
    if cpu_operators.used_for(keys):
        return lowest_in_rows(keys, group, number)
    if limit is None:
        return lowest_by_digits(keys, group, number)
    return lowest_within(keys, group, number, min(limit, keys.shape[-1]))


def lowest_within(values: Tensor, group: Tensor, number: Tensor, limit: int) -> Tensor:
    """The same, by as many of the lowest values as the limit says."""
    if limit == 0:
        return torch.zeros_like(group)
    values = torch.where(group, values, torch.inf)
    last = values.topk(limit, dim=-1, largest=False).values.gather(-1, (number - 1).clamp(0, limit - 1))
    below, tied = (values < last) & (number > 0), (values == last) & group
    room = number - below.sum(dim=-1, keepdim=True)
    return below | (tied & (tied.cumsum(-1, dtype=torch.int32) <= room))


def draw_by_groups(
    groups: Tensor, keys: Tensor, fill_keys: Tensor, *, quota: Tensor, total: Tensor, num_groups: int | None = None
) -> Tensor:
    """At most `quota` (..., 1) of each group (-1: of none), then of all alike to make up `total` (..., 1).

    One of the two draws by `fill_keys` is empty: either nobody is dropped or nobody joins.
    """
    members = groups >= 0
    if num_groups is not None and num_groups <= FEW_GROUPS and cpu_operators.used_for(keys):
        drawn = lowest_of_groups_in_rows(keys, groups, quota, num_groups)
    elif num_groups is not None and num_groups <= FEW_GROUPS:  # a draw of their own costs less than ranks in all
        is_of_group = groups.unsqueeze(-2) == torch.arange(num_groups, device=groups.device).unsqueeze(-1)
        same_keys = keys.unsqueeze(-2).expand(is_of_group.shape)
        drawn = smallest_keys(same_keys, is_of_group, quota.unsqueeze(-2).expand(*is_of_group.shape[:-1], 1)).any(-2)
    else:
        drawn = members & (rank_in_group(groups, keys) < quota)
    taken = drawn.sum(dim=-1, keepdim=True)
    # who is drawn stays or some of the others join: one draw among those, and a number that is not negative
    too_many = taken > total
    filled = smallest_keys(fill_keys, members & (drawn == too_many), total - taken * ~too_many)
    return filled | (drawn & ~too_many)


def rank_in_group(groups: Tensor, keys: Tensor) -> Tensor:
    """How many members of its own group have a smaller key, or an equal one before it.

    Two stable sorts put each group in a row, by keys; where it begins is where the group itself would be inserted.
    """
    by_key = keys.sort(dim=-1, stable=True).indices
    sorted_groups, by_group = groups.gather(-1, by_key).sort(dim=-1, stable=True)
    place = torch.arange(keys.shape[-1], device=keys.device)
    rank = place - torch.searchsorted(sorted_groups, sorted_groups)
    return torch.zeros_like(rank).scatter(-1, by_key.gather(-1, by_group), rank)
