"""Uniformly random subsets of each image's positives and negatives, by as many random numbers as are drawn.

The specification gives each candidate a key. Where nobody asks for these, Floyd's algorithm draws a subset of the ranks
in each group, and counts by blocks of candidates find the members of these ranks: two comparisons a candidate remain.
R. W. Floyd, in Bentley, "Programming pearls: a sample of brilliance", Communications of the ACM 30 (1987), 754-757.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from steelyard.impl.slices import SMALL, parts

BLOCK = 32  # candidates
FEW = 16  # candidates for each place in the sample: up to that many, ranks of all are cheaper than looking into blocks
PIECES = 32  # of labels that are counted one after the other: what is made of each stays in a cache


class Members(NamedTuple):
    """Members of each block, int64 (..., 2, blocks), and of each image, (..., 2): the foreground, the background."""

    by_block: Tensor
    size: Tensor


def count_members(labels: Tensor, num_classes: int) -> Members:
    """How many candidates of each block are foreground and background; labels int (..., N) up to C."""
    length = labels.shape[-1]
    whole = length // BLOCK
    missing = (whole + 2) * BLOCK - length  # never a single block, for which a compiler makes a graph of its own
    in_pieces = not torch.compiler.is_compiling() and whole >= PIECES and labels.numel() >= SMALL
    start = whole * BLOCK if in_pieces else 0
    rest = nn.functional.pad(labels[..., start:].long(), (0, missing), value=-1)
    counts = _counted(_in_blocks(rest), num_classes)
    if in_pieces:
        pieces = parts(PIECES, _in_blocks(labels[..., :start]), axis=-2)
        counts = torch.cat([*(_counted(piece, num_classes) for (piece,) in pieces), counts], dim=-2)
    by_block = counts.transpose(-1, -2)
    return Members(by_block, by_block.sum(dim=-1))


def draw_uniformly(
    labels: Tensor, num_classes: int, members: Members, numbers: Tensor, limits: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """As many positives and negatives as `numbers` int (..., 2), at most `limits`: any subsets, with one probability.

    Shapes: `labels` int (..., N) -> two bool (..., N).
    """
    length, places = labels.shape[-1], sum(limits)
    if length == 0:
        return torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    # a place for each draw: those of the foreground, then those of the background
    is_background = torch.arange(places, device=labels.device) >= limits[0]
    order = torch.arange(places, device=labels.device) - limits[0] * is_background
    size, number = (torch.where(is_background, pair[..., 1:], pair[..., :1]) for pair in (members.size, numbers))
    drawn = order < number
    few = length <= FEW * places
    rank = _distinct(size, number, order, is_background, limits, length if few else None)
    rank = rank + members.size[..., :1] * is_background  # of the background behind the foreground

    if few:
        return _of_ranks(labels, num_classes, members, rank.where(drawn, length))
    chosen = _found_in_blocks(labels, num_classes, members, rank, is_background)
    # added, not written: a place without a draw may fall on a candidate that another one has drawn
    positive, negative = (
        torch.zeros_like(labels, dtype=torch.bool).scatter_add_(-1, chosen[..., part], drawn[..., part])
        for part in (slice(limits[0]), slice(limits[0], None))
    )
    return positive, negative


def _distinct(
    size: Tensor, number: Tensor, order: Tensor, is_background: Tensor, limits: tuple[int, int], length: int | None
) -> Tensor:
    """Floyd's subsets of the ranks below `size`: draw i takes a rank up to last = size - number + i, or last itself.

    It takes last where its rank is taken already: an earlier draw had the same, or it is the last of an earlier draw
    that took its own. Which of these did is known by following them back, twice as far at each step.
    """
    places = len(order)
    last = size - number + order
    rank = (torch.rand(last.shape, dtype=torch.float64, device=last.device) * (last + 1)).long().minimum(last)
    if length is None:
        repeated = _repeated_in_order(rank * 2 + is_background)
    else:
        repeated = _repeated_in_table(rank.clamp(max=length - 1) + length * is_background, 2 * length)

    untaken, taken = places, places + 1  # where the way back ends
    earlier = rank - last + order
    back = torch.where((earlier >= 0) & (earlier < order), earlier + limits[0] * is_background, untaken)
    back = nn.functional.pad(back.masked_fill(repeated, taken), (0, 1), value=untaken)
    back = nn.functional.pad(back, (0, 1), value=taken)
    for _ in range(max(limits).bit_length()):
        back = back.gather(-1, back)
    return torch.where(back[..., :places] == taken, last, rank)


def _repeated_in_order(numbers: Tensor) -> Tensor:
    """Which entries are equal to an earlier one of their row."""
    places = numbers.shape[-1]
    bits = places.bit_length()
    code, _ = ((numbers << bits) + torch.arange(places, device=numbers.device)).sort(dim=-1)
    same = nn.functional.pad(code[..., 1:] >> bits == code[..., :-1] >> bits, (1, 0))
    return torch.zeros_like(same).scatter(-1, code & (2**bits - 1), same)


def _repeated_in_table(numbers: Tensor, end: int) -> Tensor:
    """The same for numbers below `end`, which is not much larger than the row."""
    place = torch.arange(numbers.shape[-1], dtype=torch.int32, device=numbers.device).expand(numbers.shape)
    first = place.new_full((*numbers.shape[:-1], end), numbers.shape[-1]).scatter_reduce(-1, numbers, place, "amin")
    return first.gather(-1, numbers) < place


def _of_ranks(labels: Tensor, num_classes: int, members: Members, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the rank of each candidate, those of the background behind those of the foreground, is given."""
    length = labels.shape[-1]
    given = torch.zeros((*labels.shape[:-1], length + 1), dtype=torch.bool, device=labels.device)
    given = given.scatter(-1, ranks, torch.ones_like(ranks, dtype=torch.bool))[..., :length]
    background = labels == num_classes
    foreground = (labels >= 0) & ~background
    among = torch.where(background, background.cumsum(-1) + members.size[..., :1], foreground.cumsum(-1))
    sampled = given.gather(-1, (among - 1).clamp(min=0))
    return sampled & foreground, sampled & background


def _found_in_blocks(
    labels: Tensor, num_classes: int, members: Members, ranks: Tensor, is_background: Tensor
) -> Tensor:
    """The candidates that have these ranks, int64 (..., places)."""
    blocks = members.by_block.shape[-1]
    count = members.by_block.flatten(-2)
    end = count.cumsum(-1)
    block = torch.searchsorted(end, ranks, right=True).clamp(max=2 * blocks - 1)
    before = ranks - end.gather(-1, block) + count.gather(-1, block)

    begin = (block - blocks * is_background) * BLOCK
    candidate = (begin.unsqueeze(-1) + torch.arange(BLOCK, device=labels.device)).clamp(max=labels.shape[-1] - 1)
    label = labels.gather(-1, candidate.flatten(-2)).reshape(candidate.shape)
    is_member = (label >= 0) & ((label == num_classes) == is_background.unsqueeze(-1))
    passed = is_member.cumsum(-1, dtype=torch.uint8) <= before.unsqueeze(-1)
    return (begin + passed.sum(-1)).clamp(max=labels.shape[-1] - 1)


def _in_blocks(labels: Tensor) -> Tensor:
    return labels.unflatten(-1, (labels.shape[-1] // BLOCK, BLOCK))  # type: ignore[no-untyped-call]


def _counted(block: Tensor, num_classes: int) -> Tensor:
    """Foreground and background of each block (..., BLOCK), int64 (..., 2): sums take half as long as comparisons."""
    below = block.clamp(-1, 0).sum(dim=-1)
    background = block.clamp(num_classes - 1, num_classes).sum(dim=-1) - BLOCK * (num_classes - 1)
    return torch.stack([BLOCK + below - background, background], dim=-1)
