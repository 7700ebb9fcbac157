"""A bound on what an eager pass over a large tensor needs besides its result.

Written out in torch calls, an elementwise loss makes half a dozen temporaries of the size of its input. A
compiler fuses them away; without one, computing a sixteenth at a time keeps them together below half that size.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SLICES_PER_WIDENING = 16  # for each doubling from the dtype of the input to that of the arithmetic
SMALL = 2**18  # elements; below that the temporaries are about a megabyte each, and launches cost more


def in_slices(function: Callable[..., Tensor], *tensors: Tensor, shared: int, out: Tensor | None = None) -> Tensor:
    """`function(*tensors)`, computed slice by slice along the longest of the first `shared` axes.

    Shapes: all tensors agree in their first `shared` axes, and so does the result, which has no other
    dependence along them. In one piece where a graph is recorded, compiled, or the first tensor is small.
    `out` takes it where it has its dtype, and may be one of the tensors: no slice reads what another one wrote.
    """
    first = tensors[0]
    if shared == 0 or in_one_piece(first):
        return function(*tensors)
    axis = max(range(shared), key=lambda a: first.shape[a])
    result, start = out, 0
    for slices in parts(number_of_slices(first), *tensors, axis=axis):
        part = function(*slices)
        if result is None or result.dtype != part.dtype:
            result = part.new_empty((*part.shape[:axis], first.shape[axis], *part.shape[axis + 1 :]))
        result.narrow(axis, start, part.shape[axis]).copy_(part)
        start += part.shape[axis]
        del part  # before the next one is made
    assert result is not None
    return result


def in_one_piece(first: Tensor) -> bool:
    """Whether a tensor is small, or the pass over it recorded or compiled."""
    # the size comes last: a compiler that were asked first would compile once for small and once for large tensors
    return torch.compiler.is_compiling() or torch.is_grad_enabled() or first.numel() < SMALL


def number_of_slices(first: Tensor) -> int:
    """How many slices keep the temporaries of an elementwise pass small beside a tensor of its input."""
    return SLICES_PER_WIDENING * (2 if first.element_size() < torch.float32.itemsize else 1)


def parts(number: int, *tensors: Tensor, axis: int) -> Iterator[tuple[Tensor, ...]]:
    """Views of the tensors, of equal length along the axis but for the last ones, at most `number`."""
    length = tensors[0].shape[axis]
    width = -(-length // number)
    for start in range(0, length, width):
        yield tuple(tensor.narrow(axis, start, min(width, length - start)) for tensor in tensors)


def sum_in_slices(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """`function(*tensors)` of tensors of one shape, where the function of the whole is the sum of those of parts.

    Bounds the temporaries of an eager pass as `in_slices` does, where nothing of the tensors' shape comes out.
    """
    first = tensors[0]
    if in_one_piece(first):
        return function(*tensors)
    slices = parts(number_of_slices(first), *tensors, axis=longest_axis(first))
    total = function(*next(slices))
    for part in slices:
        total = total + function(*part)
    return total


def longest_axis(tensor: Tensor) -> int:
    """The first of the longest axes."""
    return max(range(tensor.ndim), key=lambda axis: tensor.shape[axis])
