"""Eager passes over large tensors, a slice at a time: what stands between the operators stays in the cache.

Written out in torch calls, an elementwise loss makes a dozen temporaries of the size of its input. A compiler fuses
them away. Without one, each would go to the memory and back, and most of that time is the system's, which hands out
fresh pages: in slices of half a megabyte the temporaries take the same few places over and over.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype

Results = TypeVar("Results", Tensor, tuple[Tensor, ...])

SLICES_PER_WIDENING = 16  # for each doubling from the dtype of the input to that of the arithmetic
SMALL = 2**19  # elements; below that the temporaries are about a megabyte each, and launches cost more
IN_CACHE = 2**17  # elements a core: half a megabyte, where the second cache has one or two
LARGEST = 2**20  # elements of a slice, however many cores
ALIGNED = 64  # a length of slices of which histograms side by side need no padding
TEMPORARIES = 8  # of a slice, at once


def in_slices(function: Callable[..., Results], *tensors: Tensor, shared: int, out: Tensor | None = None) -> Results:
    """`function(*tensors)`, computed slice by slice along the longest of the first `shared` axes.

    Shapes: all tensors agree in their first `shared` axes, and so does the result, or all of them, with no other
    dependence along them. In one piece where a graph is recorded, compiled, or the first tensor is small.
    `out` takes the (first) result where it has its dtype, and may be one of the tensors: no slice reads what another
    one wrote.
    """
    first = tensors[0]
    if shared == 0 or in_one_piece(first):
        return function(*tensors)
    axis = max(range(shared), key=lambda a: first.shape[a])
    results: list[Tensor] = [] if out is None else [out]
    start, alone = 0, True
    for slices in _parts_in_cache(*tensors, axis=axis):
        found = function(*slices)
        alone = isinstance(found, Tensor)
        _write([found] if isinstance(found, Tensor) else found, results, axis, start, first.shape[axis])
        start += slices[0].shape[axis]
        del found  # before the next one is made
    return cast("Results", results[0] if alone else tuple(results))


def _write(found: Iterable[Tensor], results: list[Tensor], axis: int, start: int, length: int) -> None:
    """Copy what a slice gave into the results, which the first slice makes."""
    for number, part in enumerate(found):
        if number == len(results) or results[number].dtype != part.dtype:
            results[number : number + 1] = [part.new_empty((*part.shape[:axis], length, *part.shape[axis + 1 :]))]
        results[number].narrow(axis, start, part.shape[axis]).copy_(part)


def in_one_piece(first: Tensor) -> bool:
    """Whether a tensor is small, or the pass over it recorded or compiled."""
    # the size comes last: a compiler that were asked first would compile once for small and once for large tensors
    return torch.compiler.is_compiling() or torch.is_grad_enabled() or first.numel() < SMALL


def number_of_slices(first: Tensor) -> int:
    """How many slices keep the temporaries of an elementwise pass small beside its input; on a CPU, in the cache."""
    number = SLICES_PER_WIDENING * (2 if first.element_size() < torch.float32.itemsize else 1)
    if first.device.type != "cpu":
        return number
    return max(number, -(-first.numel() // min(IN_CACHE * torch.get_num_threads(), LARGEST)))


def parts(number: int, *tensors: Tensor, axis: int) -> Iterator[tuple[Tensor, ...]]:
    """Views of the tensors, of equal length along the axis but for the last ones, at most `number`."""
    length = tensors[0].shape[axis]
    width = -(-length // number)
    if width > ALIGNED:
        width = -(-width // ALIGNED) * ALIGNED
    for start in range(0, length, width):
        yield tuple(tensor.narrow(axis, start, min(width, length - start)) for tensor in tensors)


def _parts_in_cache(*tensors: Tensor, axis: int) -> Iterator[tuple[Tensor, ...]]:
    """`parts` of the first tensor's number of slices, whose temporaries will take the same few places."""
    number = number_of_slices(tensors[0])
    keep_freed_memory(tensors[0], tensors[0].numel() // number, compute_dtype(tensors[0]))
    return parts(number, *tensors, axis=axis)


def keep_freed_memory(first: Tensor, elements: int, dtype: torch.dtype) -> None:
    """Take memory for all temporaries of a slice of so many elements and give it back untouched, at next to no cost.

    By the size of what was given back, the C library of Linux decides what it keeps for the next request. Without
    this it would return the temporaries to the system after every slice, and fetch cleared pages for the next one.
    """
    if first.device.type == "cpu":
        first.new_empty(TEMPORARIES * elements, dtype=dtype)


def sum_in_slices(function: Callable[..., Results], *tensors: Tensor, shared: int | None = None) -> Results:
    """`function(*tensors)` where the function of the whole is the sum of those of parts along a shared axis.

    All axes are shared by default. Bounds the temporaries of an eager pass as `in_slices` does, where nothing of the
    tensors' shape comes out.
    """
    first = tensors[0]
    if shared == 0 or in_one_piece(first):
        return function(*tensors)
    axis = max(range(first.ndim if shared is None else shared), key=lambda a: first.shape[a])
    slices = _parts_in_cache(*tensors, axis=axis)
    total = function(*next(slices))
    for part in slices:
        found = function(*part)
        total = tuple(map(torch.add, total, found)) if isinstance(total, tuple) else total + found
    return total


def longest_axis(tensor: Tensor) -> int:
    """The first of the longest axes."""
    return max(range(tensor.ndim), key=lambda axis: tensor.shape[axis])
