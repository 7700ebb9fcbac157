"""The lowest of many values, as many as the data says, without a sort: digit by digit, the highest first.

A histogram of the first digit of all values says in which bin the last chosen one lies, one of the second digit of the
values in this bin narrows it down, and so on: three passes for float32. A sort makes as many as the logarithm of the
number of values, and moves them.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype
from steelyard.impl.slices import SMALL, parts

BITS = 11  # of a digit: the counts of 2,048 bins stay in the nearest cache
PIECES = 32  # of the values, one after the other, so that what is made of each stays in a cache


def lowest_by_digits(values: Tensor, group: Tensor, number: Tensor) -> Tensor:
    """The members of a group with the lowest values: `number` int (..., 1), or all if there are fewer.

    Of equal ones the first; -0.0 equals 0.0. `values` float (..., N), `group` bool (..., N) -> bool (..., N).
    """
    values = torch.where(group, values.to(compute_dtype(values)), torch.inf)
    whole_numbers = torch.int64 if values.dtype == torch.float64 else torch.int32
    bits = whole_numbers.itemsize * 8
    ordered = (values + 0.0).view(whole_numbers)
    # the bits of a float count up with its magnitude: below 0 they are turned round
    ordered = ordered ^ ((ordered >> (bits - 1)) & torch.iinfo(whole_numbers).max)

    left, digits = number, torch.zeros_like(number)
    end = bits
    while end > 0:
        shift = max(end - BITS, 0)
        bins = 1 << (end - shift)
        lowest = digits * bins if end < bits else digits - bins // 2
        end = shift
        ends = _histogram(ordered, lowest.to(whole_numbers), shift, bins).cumsum(-1)
        place = (ends < left).sum(-1, keepdim=True).clamp(max=bins - 1)
        left = left - torch.where(place > 0, ends.gather(-1, (place - 1).clamp(min=0)), 0)
        digits = lowest + place
    last = digits.to(whole_numbers)
    tied = (ordered == last) & group
    return ((ordered < last) & group) | (tied & (tied.cumsum(-1, dtype=torch.int32) <= left))


def _histogram(ordered: Tensor, lowest: Tensor, shift: int, bins: int) -> Tensor:
    """How many numbers have, less their last `shift` bits, each value from `lowest` on; int64 (..., bins)."""
    counts = ordered.new_zeros((*ordered.shape[:-1], bins + 2), dtype=torch.int64)
    one = torch.ones((), dtype=torch.int64, device=ordered.device)
    in_pieces = not torch.compiler.is_compiling() and ordered.numel() >= SMALL
    for (piece,) in parts(PIECES, ordered, axis=-1) if in_pieces else [(ordered,)]:
        # what is outside meets at both ends
        place = ((piece >> shift) - lowest).clamp(-1, bins) + 1
        counts.scatter_add_(-1, place.long(), one.expand(place.shape))
    return counts[..., 1:-1]
