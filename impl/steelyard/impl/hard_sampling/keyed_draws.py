"""Random draws without replacement, made of explicit uniform keys, for whole batches: no index lists.

Specification: `steelyard.reference.hard_sampling.keyed_draws`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import float_tensor
from steelyard.impl.hard_sampling.selection_by_digits import lowest_by_digits
from steelyard.impl.slices import in_slices

BLOCK = 32  # keys
FEW_GROUPS = 4


def key_tensor(name: str, value: Tensor) -> Tensor:
    """Keys (..., N)."""
    float_tensor(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., N), got ()")
    return value


def smallest_keys(keys: Tensor, group: Tensor, number: Tensor, *, limit: int | None = None) -> Tensor:
    """The members of a group with the smallest keys: `number` (..., 1), or all if there are fewer.

    A `limit` that `number` never exceeds makes it fast.
    """
    if limit is None:
        return lowest_by_digits(keys, group, number)
    limit = min(limit, keys.shape[-1])
    blocks = keys.shape[-1] // BLOCK
    if torch.compiler.is_compiling() or blocks < 4 * limit:  # one graph for all sizes
        return lowest(keys, group, number, limit)

    # that many of the smallest keys lie in as many blocks, those with the smallest minima
    cut = blocks * BLOCK
    in_blocks = [tensor[..., :cut].unflatten(-1, (blocks, BLOCK)) for tensor in (keys, group)]  # type: ignore[no-untyped-call]
    with torch.no_grad():
        minima = in_slices(
            lambda key, member: torch.where(member, key, torch.inf).amin(-1), *in_blocks, shared=keys.ndim
        )
    near = lowest(minima, torch.ones_like(minima, dtype=torch.bool), torch.full_like(number, limit), limit)
    near = torch.where(near, torch.arange(blocks, device=keys.device), blocks)
    near = near.topk(limit, dim=-1, largest=False).values  # in order, for the sake of equal keys
    inside = near.unsqueeze(-1).expand(*near.shape, BLOCK)
    near_keys, near_group = (
        torch.cat([block.gather(-2, inside).flatten(-2), tensor[..., cut:]], dim=-1)
        for block, tensor in zip(in_blocks, (keys, group), strict=True)
    )
    drawn = lowest(near_keys, near_group, number, limit)
    place = (near.unsqueeze(-1) * BLOCK + torch.arange(BLOCK, device=keys.device)).flatten(-2)
    chosen = torch.zeros_like(group).scatter(-1, place, drawn[..., : limit * BLOCK])
    chosen[..., cut:] = drawn[..., limit * BLOCK :]
    return chosen


def lowest(values: Tensor, group: Tensor, number: Tensor, limit: int) -> Tensor:
    """The members of a group with the lowest values, of equal ones the first: `number` (..., 1), at most `limit`.

    Shapes: `values` float (..., N), `group` bool (..., N) -> bool (..., N).
    """
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
    if num_groups is not None and num_groups <= FEW_GROUPS:  # a draw of their own costs less than ranks in all
        is_of_group = groups.unsqueeze(-2) == torch.arange(num_groups, device=groups.device).unsqueeze(-1)
        same_keys = keys.unsqueeze(-2).expand(is_of_group.shape)
        drawn = smallest_keys(same_keys, is_of_group, quota.unsqueeze(-2).expand(*is_of_group.shape[:-1], 1)).any(-2)
    else:
        drawn = members & (rank_in_group(groups, keys) < quota)
    taken = drawn.sum(dim=-1, keepdim=True)
    # who is drawn stays or some of the others join: one draw among those, and a number that is not negative
    too_many = taken > total
    filled = smallest_keys(fill_keys, torch.where(too_many, drawn, members & ~drawn), (total - taken * ~too_many))
    return torch.where(too_many, filled, drawn | filled)


def rank_in_group(groups: Tensor, keys: Tensor) -> Tensor:
    """How many members of its own group have a smaller key, or an equal one before it.

    Two stable sorts put each group in a row, by keys; where it begins is where the group itself would be inserted.
    """
    by_key = keys.sort(dim=-1, stable=True).indices
    sorted_groups, by_group = groups.gather(-1, by_key).sort(dim=-1, stable=True)
    place = torch.arange(keys.shape[-1], device=keys.device)
    rank = place - torch.searchsorted(sorted_groups, sorted_groups)
    return torch.zeros_like(rank).scatter(-1, by_key.gather(-1, by_group), rank)
