"""Exact gradient density within little more memory than one number an example.

All norms sorted at once, their order and both ends of all windows are eleven times the size of the inputs. Here a
sixteenth of the examples is sorted at a time, and counted into the windows of all: sixteen times the searches, and
with the gradient no more than one and a half times the inputs. Beside inputs of half precision a count an example
would already be twice their size: there the windows of a sixteenth are filled at a time too, and everything is sorted
anew for each, an eightieth at a time, which takes about three times as long.

Specification: `steelyard.reference.soft_sampling.gradient_density`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steelyard.impl.slices import in_one_piece, longest_axis, number_of_slices, parts
from steelyard.impl.soft_sampling.gradient_density import counted_norms, inverse_density, inverse_of, neighbours

RUNS = 16
RUNS_OF_HALVES = 80
BLOCKS_OF_HALVES = 16


def sum_with_density(
    function: Callable[..., Tensor], norm: Callable[..., Tensor], *elements: Tensor, dtype: torch.dtype, epsilon: float
) -> Tensor:
    """Sum of `function(*elements, inverse density)`, which is computed element by element."""
    total = torch.zeros((), dtype=dtype, device=elements[0].device)
    for block in _blocks(dtype, *elements):
        inverse = inverse_density_of(norm, elements, block, dtype=dtype, epsilon=epsilon)
        for part in _slices(elements[0], *block, inverse):
            total = total + function(*part).sum()
        del inverse  # before the next one is made
    return total


def with_density(
    function: Callable[..., Tensor],
    norm: Callable[..., Tensor],
    *elements: Tensor,
    others: tuple[Tensor, ...] = (),
    dtype: torch.dtype,
    epsilon: float,
) -> Tensor:
    """`function(*elements, *others, inverse density)`, which is computed element by element, of their shape."""
    first, result, start = elements[0], None, 0
    for block in _blocks(dtype, *elements, *others):
        inverse = inverse_density_of(norm, elements, block[: len(elements)], dtype=dtype, epsilon=epsilon)
        for part in _slices(first, *block, inverse):
            values = function(*part)
            if values.shape == first.shape:
                return values
            if result is None:  # the densities of all make room for it, slice by slice
                in_place = inverse.shape == first.shape and inverse.dtype == values.dtype
                result = inverse if in_place else torch.empty_like(first, dtype=values.dtype)
            axis = longest_axis(first)
            result.narrow(axis, start, values.shape[axis]).copy_(values)
            start += values.shape[axis]
        del inverse  # before the next one is made
    assert result is not None
    return result


def _blocks(dtype: torch.dtype, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The examples whose windows are filled at once: all, or a few of many in half precision."""
    first = tensors[0]
    if in_one_piece(first) or first.element_size() >= dtype.itemsize:
        yield tensors
    else:
        yield from parts(BLOCKS_OF_HALVES, *tensors, axis=longest_axis(first))


def _slices(first: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors, taken from the whole of `first`, in parts half as large as its slices."""
    if in_one_piece(first):
        yield tensors
    else:
        # twice as many: a search keeps both ends of each window beside what an elementwise pass keeps
        number = 2 * number_of_slices(first) * tensors[0].numel() // first.numel()
        yield from parts(max(1, number), *tensors, axis=longest_axis(first))


@torch.no_grad()
def inverse_density_of(
    norm: Callable[..., Tensor],
    elements: tuple[Tensor, ...],
    wanted: tuple[Tensor, ...],
    *,
    dtype: torch.dtype,
    epsilon: float,
) -> Tensor:
    """`inverse_density` at the norms of `wanted`, some of all `elements`; norms are made anew where they are needed.

    Shapes: elements of one shape, the last of them the mask -> the shape of the wanted, of the arithmetic's `dtype`.
    """
    if in_one_piece(elements[0]):
        return inverse_density(norm(*elements), elements[-1], epsilon)[0]
    # as wide as the result, which takes their place
    num_neighbours = torch.zeros_like(wanted[0], dtype=torch.int64 if dtype == torch.float64 else torch.int32)
    inverse = num_neighbours.view(dtype)
    # sorting takes several times the memory of what is sorted
    runs = RUNS if elements[0].element_size() >= dtype.itemsize else RUNS_OF_HALVES

    def norms(*part: Tensor) -> Tensor:
        return counted_norms(norm(*part), part[-1]).contiguous()

    for run in parts(runs, *elements, axis=longest_axis(elements[0])):
        ordered = norms(*run).reshape(-1).sort().values
        for *part, number in _slices(elements[0], *wanted, num_neighbours):
            number.add_(neighbours(ordered, norms(*part), epsilon))
    for *part, number, result in _slices(elements[0], *wanted, num_neighbours, inverse):
        result.copy_(inverse_of(norms(*part), number, epsilon))
    return inverse
