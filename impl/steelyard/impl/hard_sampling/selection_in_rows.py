"""The lowest of each row's members on a CPU, by NumPy's selection, for which PyTorch has no equal there.

`torch.topk` and `torch.sort` move pairs of a value and an index, one by one; NumPy parts plain numbers around the
wanted one with vector instructions, 10 to 50 times as fast. Being an operator of its own, it is neither looked into by
a compiler nor run on the meta device; and as the numbers never leave the CPU, nothing waits.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steelyard.impl.checks import compute_dtype
from steelyard.impl.cpu_operators import define

AT_A_TIME = 2**15
"""Candidates, or one row if it is longer: what is made of them stays in a cache."""
Bools = NDArray[np.bool_]
Ordered = NDArray[np.unsignedinteger]


def lowest_in_rows(values: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """The members of a group with the lowest values, of equal ones the first: `number` int (..., 1), or all if fewer.

    Shapes: `values` float (..., N), `group` bool (..., N), on a CPU -> bool (..., N).
    """
    value = values.detach().to(compute_dtype(values))
    flat = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (value, group, number.expand(*group.shape[:-1], 1)))
    chosen: Tensor = _lowest_in_rows(*flat) if group.numel() else group
    return chosen.reshape(group.shape)


def lowest_of_groups_in_rows(values: Tensor, groups: Tensor, number: Tensor, num_groups: int) -> Tensor:
    """The members of each group 0, 1, ... with the lowest values: `number` int (..., 1) of each.

    Shapes: `values` float (..., N), `groups` int (..., N), on a CPU -> bool (..., N).
    """
    value = values.detach().to(compute_dtype(values))
    flat = (tensor.reshape(-1, tensor.shape[-1]) for tensor in (value, groups, number.expand(*groups.shape[:-1], 1)))
    empty = torch.zeros_like(groups, dtype=torch.bool)
    chosen: Tensor = _lowest_of_groups_in_rows(*flat, num_groups) if groups.numel() else empty
    return chosen.reshape(groups.shape)


def keep_lowest(ordered: Ordered, member: Bools, number: list[int]) -> None:
    """Leave of the members (R, N) those with the lowest values, of equal ones the first, as many as the row's number.

    Overwrites `ordered` too, unsigned whole numbers (R, N).
    """
    ordered |= np.subtract(member.view(np.uint8), 1, dtype=ordered.dtype)  # who is no member comes last
    last = np.empty((len(ordered), 1), dtype=ordered.dtype)
    for row, wanted, found in zip(ordered, number, last, strict=True):
        place = min(max(wanted, 1), len(row)) - 1
        found[0] = np.partition(row, place)[place]
    member &= ordered <= last
    for row, chosen, wanted, found in zip(ordered, member, number, last, strict=True):
        surplus = np.count_nonzero(chosen) - max(wanted, 0)
        if surplus > 0:
            chosen[np.flatnonzero(chosen & (row == found))[-surplus:]] = False


def in_order(values: NDArray[np.floating]) -> Ordered:
    """Whole numbers in the order of the values. The bits of a float count up with its magnitude."""
    wide = values.itemsize == np.dtype(np.float64).itemsize
    positive = values + values.dtype.type(0)  # -0.0 equals 0.0
    bits: NDArray[np.int64] = positive.view(np.int64 if wide else np.int32)
    turned = bits >> (8 * bits.itemsize - 1)
    turned |= np.iinfo(bits.dtype).min
    bits ^= turned
    return bits.view(np.uint64) if wide else bits.view(np.uint32)


def _lowest_in_rows_on_cpu(values: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """Shapes: `values` float (R, N), `group` bool (R, N), `number` int64 (R, 1) -> bool (R, N)."""
    chosen = group.clone(memory_format=torch.contiguous_format)
    value, member, wanted = values.numpy(), chosen.numpy(), number.flatten().tolist()
    for part in parts_of(value.shape):
        keep_lowest(in_order(value[part]), member[part], wanted[part])
    return chosen


def _lowest_of_groups_on_cpu(values: Tensor, groups: Tensor, number: Tensor, num_groups: int) -> Tensor:
    """Shapes: `values` float (R, N), `groups` int (R, N), `number` int64 (R, 1) -> bool (R, N)."""
    chosen = groups.new_zeros(groups.shape, dtype=torch.bool)
    value, group, drawn, wanted = values.numpy(), groups.numpy(), chosen.numpy(), number.flatten().tolist()
    for part in parts_of(value.shape):
        ordered = in_order(value[part])
        for i in range(num_groups):
            member = group[part] == i
            keep_lowest(ordered.copy(), member, wanted[part])
            drawn[part] |= member
    return chosen


def parts_of(shape: tuple[int, ...]) -> Iterator[slice]:
    """A few rows (R, N) at a time."""
    rows = max(AT_A_TIME // max(shape[-1], 1), 1)
    for start in range(0, shape[0] if shape[-1] else 0, rows):
        yield slice(start, start + rows)


def _shape(values: Tensor, groups: Tensor, *_: object) -> Tensor:  # noqa: ARG001
    return groups.new_empty(groups.shape, dtype=torch.bool)


_lowest_in_rows = define(
    "lowest_in_rows(Tensor values, Tensor group, Tensor number) -> Tensor", _lowest_in_rows_on_cpu, _shape
)
_lowest_of_groups_in_rows = define(
    "lowest_of_groups_in_rows(Tensor values, Tensor groups, Tensor number, int num_groups) -> Tensor",
    _lowest_of_groups_on_cpu,
    _shape,
)
