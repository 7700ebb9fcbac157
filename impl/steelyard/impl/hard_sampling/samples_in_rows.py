"""Samples of each image's positives and negatives on a CPU, by NumPy's selection, its sort and its generators.

Uniform ones: where rows are short, every candidate gets a random key, and the smallest are taken; NumPy sorts plain
numbers with vector instructions, 50 times as fast as `torch.sort`. Where rows are long, as many ranks as are wanted are
drawn.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steelyard.impl.checks import compute_dtype
from steelyard.impl.cpu_operators import define
from steelyard.impl.hard_sampling.selection_in_rows import Bools, in_order, keep_lowest, parts_of

SHORT = 2**13  # candidates; up to that many, keys of all cost less than the calls for one row after the other
LAST = np.uint32(2**32 - 1)
Counts = NDArray[np.int64]
Quota = tuple[int, int, int, float | None]
"""Number of classes, size of the sample, its most positives, and its most negatives for each positive."""


class _Rows(NamedTuple):
    """Some images, and who of them is positive and who negative, (B, N), to be thinned out."""

    part: slice
    positive: Bools
    negative: Bools
    size: Counts
    """Number of positives, (B,)."""
    taken: Counts
    """Positives that are wanted, (B,)."""
    most: Counts
    """Negatives that are wanted, if there are so many, (B,)."""


def draw_in_rows(labels: Tensor, quota: Quota) -> tuple[Tensor, Tensor]:
    """A sample of each image, as `random_sampling` describes it: any subsets of its sizes, with one probability.

    Shapes: `labels` int (..., N) on a CPU -> two bool (..., N).
    """
    if labels.numel() == 0:
        return torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    # outside of the operator, which is then a function of what it is given
    seed = torch.randint(2**62, (2,), device=labels.device)
    positive, negative = _draw_in_rows(labels.reshape(-1, labels.shape[-1]), seed, *quota)
    return positive.reshape(labels.shape), negative.reshape(labels.shape)


def lowest_sample_in_rows(labels: Tensor, values: Tensor, quota: Quota) -> tuple[Tensor, Tensor]:
    """A sample of the same sizes, of those with the lowest values, of equal ones the first.

    Shapes: `labels` int (..., N) on a CPU, `values` float (..., N) -> two bool (..., N).
    """
    if labels.numel() == 0:
        return torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    flat = (tensor.reshape(-1, labels.shape[-1]) for tensor in (labels, values.detach().to(compute_dtype(values))))
    positive, negative = _lowest_sample_in_rows(*flat, *quota)
    return positive.reshape(labels.shape), negative.reshape(labels.shape)


def _draw_on_cpu(labels: Tensor, seed: Tensor, *quota: *Quota) -> tuple[Tensor, Tensor]:
    """Shapes: `labels` int (B, N), `seed` int64 (2,), not negative -> two bool (B, N)."""
    found = _shapes(labels)
    random = np.random.Generator(np.random.SFC64(seed.numpy().tolist()))
    for rows in _some_rows(labels, found, *quota):
        if labels.shape[-1] <= SHORT:
            while not _kept_by_keys(random, rows):
                pass
        else:
            members, numbers = (*rows.positive, *rows.negative), (*rows.taken, *rows.most)
            for member, wanted in zip(members, numbers, strict=True):
                _thin_out(random, member, wanted)
    return found


def _lowest_on_cpu(labels: Tensor, values: Tensor, *quota: *Quota) -> tuple[Tensor, Tensor]:
    """Shapes: `labels` int (B, N), `values` float (B, N) -> two bool (B, N)."""
    found = _shapes(labels)
    for rows in _some_rows(labels, found, *quota):
        ordered = in_order(values.numpy()[rows.part])
        keep_lowest(ordered.copy(), rows.positive, rows.taken.tolist())
        keep_lowest(ordered, rows.negative, rows.most.tolist())
    return found


def _some_rows(
    labels: Tensor,
    found: tuple[Tensor, Tensor],
    num_classes: int,
    num_samples: int,
    most_positives: int,
    negatives_per_positive: float | None,
) -> Iterator[_Rows]:
    """A few images at a time; `found` bool (B, N) takes all positives and all negatives."""
    label, positives, negatives = labels.numpy(), found[0].numpy(), found[1].numpy()
    for part in parts_of(label.shape):
        some, positive, negative = label[part], positives[part], negatives[part]
        np.greater_equal(some, 0, out=positive)
        positive &= some < num_classes
        np.equal(some, num_classes, out=negative)
        size = np.array([np.count_nonzero(row) for row in positive])
        taken = np.minimum(size, most_positives)
        most = num_samples - taken
        if negatives_per_positive is not None:
            most = np.minimum(most, np.floor(negatives_per_positive * np.maximum(taken, 1)).astype(np.int64))
        yield _Rows(part, positive, negative, size, taken, most)


def _kept_by_keys(random: np.random.Generator, rows: _Rows) -> bool:
    """Leave of the rows those with the smallest keys; False, and all as it was, where equal ones make that unclear.

    So in the end no key decides by its place: all subsets have one probability.
    """
    positive, negative, size, taken, most = rows[1:]
    length = negative.shape[-1]
    key = random.bit_generator.random_raw(-(-negative.size // 2)).view(np.uint32)[: negative.size]
    key = key.reshape(negative.shape)
    key >>= 1
    ordered = np.left_shift(negative.view(np.uint8), 31, dtype=np.uint32)
    key |= ordered  # the negatives behind the positives
    np.subtract((positive | negative).view(np.uint8), 1, out=ordered, dtype=np.uint32)
    key |= ordered  # and what is neither last, at the largest number
    np.copyto(ordered, key)
    ordered.sort(axis=-1)

    ends = np.stack([taken, np.minimum(size + most, length)])
    place = ends + np.arange(0, key.size, length)
    last, following = ordered.take(place - 1, mode="wrap"), ordered.take(place, mode="clip")
    if ((last == following) & (ends > 0) & (ends < length) & (last < LAST)).any():
        return False
    for member, wanted, end in zip((positive, negative), (taken, most), last, strict=True):
        np.logical_and(member, key <= end[:, np.newaxis], out=member)
        member[wanted == 0] = False
    return True


def _thin_out(random: np.random.Generator, member: Bools, wanted: int) -> None:
    """Leave a random subset of the members (N,), if there are more than that."""
    place: NDArray[np.intp] = np.flatnonzero(member)
    if wanted < place.size:
        member[:] = False
        member[place[random.choice(place.size, wanted, replace=False, shuffle=False)]] = True


def _shapes(labels: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    positive, negative = (labels.new_empty(labels.shape, dtype=torch.bool) for _ in range(2))
    return positive, negative


QUOTA = "int num_classes, int num_samples, int most_positives, float? negatives_per_positive"
_draw_in_rows = define(f"draw_in_rows(Tensor labels, Tensor seed, {QUOTA}) -> (Tensor, Tensor)", _draw_on_cpu, _shapes)
_lowest_sample_in_rows = define(
    f"lowest_sample_in_rows(Tensor labels, Tensor values, {QUOTA}) -> (Tensor, Tensor)", _lowest_on_cpu, _shapes
)
