"""Exact gradient density within little more memory than one number an example.

All norms sorted at once, their order and both ends of all windows are eleven times the size of the inputs. Here a
sixteenth of the examples is sorted at a time, and counted into the windows of all: sixteen times the searches, and
with the gradient no more than one and a half times the inputs.

Specification: `steelyard.reference.soft_sampling.gradient_density`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from steelyard.impl.slices import in_one_piece, longest_axis, number_of_slices, parts
from steelyard.impl.soft_sampling.gradient_density import counted_norms, inverse_density, inverse_of, neighbours

RUNS = 16


@torch.no_grad()
def inverse_density_of(norm: Callable[..., Tensor], *elements: Tensor, dtype: torch.dtype, epsilon: float) -> Tensor:
    """`inverse_density` of the norms `norm(*elements)`, which are made again wherever they are needed.

    Shapes: elements of one shape, the last of them the mask -> that shape, of the arithmetic's `dtype`.
    """
    first = elements[0]
    if in_one_piece(first):
        return inverse_density(norm(*elements), elements[-1], epsilon)[0]
    axis = longest_axis(first)
    # as wide as the result, which takes their place
    num_neighbours = torch.zeros_like(first, dtype=torch.int64 if dtype == torch.float64 else torch.int32)
    inverse = num_neighbours.view(dtype)
    slices = number_of_slices(first)

    def norms(*part: Tensor) -> Tensor:
        return counted_norms(norm(*part), part[-1]).contiguous()

    for run in parts(RUNS, *elements, axis=axis):
        ordered = norms(*run).reshape(-1).sort().values
        for *part, number in parts(slices, *elements, num_neighbours, axis=axis):
            number.add_(neighbours(ordered, norms(*part), epsilon))
    for *part, number, result in parts(slices, *elements, num_neighbours, inverse, axis=axis):
        result.copy_(inverse_of(norms(*part), number, epsilon))
    return inverse
