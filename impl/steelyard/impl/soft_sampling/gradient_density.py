"""Gradient density by one scatter over unit regions, or exactly by one sort and two searches.

Specification: `steelyard.reference.soft_sampling.gradient_density`.
"""

import functools
import itertools
import math
import struct
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from steelyard.impl.checks import (
    compute_dtype,
    count,
    discrete_tensor,
    float_tensor,
    fraction_below_one,
    one_of,
    positive,
)
from steelyard.impl.collectives import summed

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

NORMS = ("nonempty", "M")
MOVING_AVERAGES = ("lazy", "full")
REDUCTIONS = ("sum", "none")
LONGEST_WINDOW = 2.0
MOST_BY_ARITHMETIC = 2**16  # bins, up to which a product with a norm is off by one at most
MOST_UNROLLED = 64  # bins
LANES = 1024  # histograms side by side, added at the end: most examples fall into one region, and would queue there


class UnitRegionWeights(NamedTuple):
    """What `unit_region_weights` returns."""

    weights: Tensor
    state: Tensor


class GHMLoss(NamedTuple):
    """What the GHM losses return."""

    loss: Tensor
    state: Tensor


def gradient_density(gradient_norms: Tensor, valid: Tensor | None = None, *, epsilon: float) -> Tensor:
    """Exact density at every gradient norm.

    Shapes: `gradient_norms` float (...,), `valid` bool (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.gradient_density`.
    """
    g, is_valid = _norms(gradient_norms, valid)
    inverse, counted = inverse_density(g, is_valid, window_length(epsilon))
    density = torch.where(counted, inverse.reciprocal(), torch.nan)
    return density.masked_fill(~is_valid, 0.0)


def harmonizing_weights(gradient_norms: Tensor, valid: Tensor | None = None, *, epsilon: float) -> Tensor:
    """Weight of every example from the exact density.

    Shapes: `gradient_norms` float (...,), `valid` bool (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.harmonizing_weights`.
    """
    g, is_valid = _norms(gradient_norms, valid)
    inverse, counted = inverse_density(g, is_valid, window_length(epsilon))
    weights = torch.where(counted, counted.sum() * inverse, torch.nan)
    return weights.masked_fill(~is_valid, 0.0)


def unit_region_index(gradient_norms: Tensor, *, bins: int = 10) -> Tensor:
    """Region of every gradient norm, with edges rounded to its dtype.

    Shapes: `gradient_norms` float (...,) -> int64 (...,).
    Specification: `steelyard.reference.unit_region_index`.
    """
    float_tensor("gradient_norms", gradient_norms)
    bins = count("bins", bins)
    return region_index(gradient_norms.detach().to(compute_dtype(gradient_norms)), bins).long()


def unit_region_counts(
    gradient_norms: Tensor, valid: Tensor | None = None, *, bins: int = 10, group: "ProcessGroup | None" = None
) -> Tensor:
    """Examples in each region, over all processes of the group.

    Shapes: `gradient_norms` float (...,), `valid` bool (...,) -> int64 (bins,).
    Specification: `steelyard.reference.unit_region_counts`.
    """
    g, is_valid = _norms(gradient_norms, valid)
    return summed(region_counts(g.masked_fill(~is_valid, torch.nan), count("bins", bins)), group)


def moving_average_counts(state: Tensor, counts: Tensor, *, momentum: float, ema: str = "lazy") -> Tensor:
    """Region counts averaged over mini-batches; the old state stays as it is.

    Shapes: `state` float (bins,), `counts` int (bins,) -> (bins,); float32 for a half state.
    Specification: `steelyard.reference.moving_average_counts`.
    """
    float_tensor("state", state)
    discrete_tensor("counts", counts, shape=state.shape, of="that of state")
    alpha = fraction_below_one("momentum", momentum)
    one_of("ema", ema, MOVING_AVERAGES)
    previous = state.to(compute_dtype(state))
    averaged = alpha * previous + (1.0 - alpha) * counts.to(previous.dtype)
    return torch.where(counts > 0, averaged, previous) if ema == "lazy" else averaged


def unit_region_weights(
    gradient_norms: Tensor,
    valid: Tensor | None = None,
    state: Tensor | None = None,
    *,
    bins: int = 10,
    norm: str = "nonempty",
    momentum: float | None = None,
    ema: str = "lazy",
    group: "ProcessGroup | None" = None,
) -> UnitRegionWeights:
    """Weight of every example from unit regions, counted over all processes of the group.

    Shapes: `gradient_norms` float (...,), `valid` bool (...,), `state` float (bins,) -> (...,), (bins,).
    Specification: `steelyard.reference.unit_region_weights`.
    """
    g, is_valid = _norms(gradient_norms, valid)
    counts = summed(region_counts(g.masked_fill(~is_valid, torch.nan), count("bins", bins)), group)
    table, new_state = region_coefficients(counts, state, g.dtype, norm=norm, momentum=momentum, ema=ema)
    weights = counts.sum() * coefficient(g, table, ())
    return UnitRegionWeights(torch.where(g == g, weights, torch.nan).masked_fill(~is_valid, 0.0), new_state)  # noqa: PLR0124


def harmonized_mean_terms(
    values: Tensor, weights: Tensor, valid: Tensor | None = None, *, group: "ProcessGroup | None" = None
) -> Tensor:
    """Terms weight * value / N, of which the loss is the sum; N over all processes of the group.

    Shapes: `values` float (...,), `weights` float (...,), `valid` bool (...,) -> (...,); float32 for half inputs.
    Specification: `steelyard.reference.harmonized_mean_terms`.
    """
    float_tensor("values", values)
    float_tensor("weights", weights, shape=values.shape, of="that of values")
    is_valid = mask_like(values, valid, of="values")
    num_examples = summed((is_valid & ~weights.isnan()).sum(), group).clamp(min=1)
    v = values.to(compute_dtype(values))
    return torch.where(is_valid, torch.where(is_valid, v, 0.0) * weights.to(v.dtype) / num_examples, 0.0)


class HarmonizedLoss(nn.Module):
    """Options of a GHM loss, and the moving average of its region counts.

    The average is the buffer `state`: saved and loaded with the module, changed by training calls only.
    """

    state: Tensor

    def __init__(
        self,
        *,
        bins: int = 10,
        norm: str = "nonempty",
        momentum: float | None = None,
        ema: str = "lazy",
        group: "ProcessGroup | None" = None,
    ) -> None:
        super().__init__()
        self.bins, self.norm, self.momentum, self.ema, self.group = count("bins", bins), norm, momentum, ema, group
        self.register_buffer("state", torch.zeros(bins))

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "bins": self.bins,
            "norm": self.norm,
            "momentum": self.momentum,
            "ema": self.ema,
            "group": self.group,
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with the same group, which itself cannot be copied."""
        memo[id(self.group)] = self.group
        copy = memo[id(self)] = self.__class__.__new__(self.__class__)
        copy.__dict__ = deepcopy(self.__dict__, memo)
        return copy

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"bins={self.bins}, norm={self.norm!r}, momentum={self.momentum}, ema={self.ema!r}"

    def _keep_state(self, result: GHMLoss) -> Tensor:
        if self.training and self.momentum is not None:
            self.state.copy_(result.state)
        return result.loss


def region_index(g: Tensor, bins: int) -> Tensor:
    """int32 region of every norm in [0, 1]; any region for NaN."""
    if bins > MOST_BY_ARITHMETIC:
        edges = torch.arange(1, bins, dtype=g.dtype, device=g.device) / bins
        return torch.bucketize(g.contiguous(), edges, right=True, out_int32=True)
    return _region_number(g, bins).to(torch.int32).clamp(0, bins - 1)  # NaN becomes some integer or other


def region_counts(g: Tensor, bins: int) -> Tensor:
    """int64 number of norms, NaN left out, in each region: integers, so that the order of adding is nothing."""
    if torch.compiler.is_compiling() and bins <= MOST_UNROLLED:
        return _counts_unrolled(g, bins)
    return _sums(_lanes(g, bins), None, bins)[:bins]


def adds_in_one_order(device: torch.device, bins: int) -> bool:
    """Whether `region_counts_and_sums` adds floats in the same order at every call."""
    return bins <= MOST_UNROLLED if torch.compiler.is_compiling() else device.type == "cpu"


def region_counts_and_sums(g: Tensor, values: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """`region_counts`, and the sum of the values in each region and, last, of those whose norm is NaN."""
    if torch.compiler.is_compiling():
        at_least = _at_least(g, bins)
        return _regions_of(_counts_in_pairs(at_least)), _sums_unrolled(at_least, values)
    lanes = _lanes(g, bins)
    return _sums(lanes, None, bins)[:bins], _sums(lanes, values, bins)


def _lanes(g: Tensor, bins: int) -> Tensor:
    """int64 region of every norm, `bins` for NaN, in rows of `LANES`, filled up with `bins`."""
    if bins > MOST_BY_ARITHMETIC:
        index = torch.where(g == g, region_index(g, bins), bins)  # noqa: PLR0124 - is a number
    else:
        index = torch.nan_to_num(_region_number(g, bins), nan=bins)
    return _in_rows(index, bins).long()


def _sums(lanes: Tensor, values: Tensor | None, bins: int) -> Tensor:
    """Sum of the values in each region and, last, in none; without values, how many."""
    if values is None:
        rows = torch.ones((), dtype=torch.int64, device=lanes.device).expand(lanes.shape)
    else:
        rows = _in_rows(values, 0)
    zero = torch.zeros((bins + 1, LANES), dtype=rows.dtype, device=rows.device)
    return zero.scatter_add(0, lanes, rows).sum(dim=1)


def _in_rows(values: Tensor, rest: int) -> Tensor:
    values = values.reshape(-1)
    if torch.compiler.is_compiling():  # with a row more than they fill: a single one would be compiled for itself
        values = nn.functional.pad(values, (0, LANES + -values.numel() % LANES), value=rest)
    elif values.numel() % LANES:
        values = nn.functional.pad(values, (0, -values.numel() % LANES), value=rest)
    return values.view(-1, LANES)


def _region_number(g: Tensor, bins: int) -> Tensor:
    """A floating number whose integer part is the region of the norm; NaN for NaN.

    The region's lower edge is the largest i / bins, rounded, that is not above the norm. Where the product does not
    tell it, the floor of one a little smaller is at most 1 too small and never too large; comparing with the next edge
    mends it. A search among the edges takes much longer.
    """
    if not torch.compiler.is_compiling() and _product_tells_region(bins, g.dtype):
        return (g * bins).clamp(max=bins - 1)
    next_region = (g * (bins * (1.0 - 4.0 * torch.finfo(g.dtype).eps))).floor() + 1.0
    below_its_edge = (g - next_region / bins).sign().clamp(max=0.0)
    return (next_region + below_its_edge).clamp(max=bins - 1)


@functools.cache
def _product_tells_region(bins: int, dtype: torch.dtype) -> bool:
    """Whether a rounded product with `bins` reaches i just at the rounded edge i / bins, for every edge.

    It does for the usual 10 and 30 regions in float32. Products are monotonic: an edge and its neighbour below decide.
    """
    precision = {torch.float32: 24, torch.float64: 53}[dtype]

    def rounded(number: float) -> float:
        return number if dtype == torch.float64 else struct.unpack("f", struct.pack("f", number))[0]

    for region in range(1, bins):
        edge = rounded(region / bins)
        mantissa, exponent = math.frexp(edge)
        below = edge - math.ldexp(1.0, exponent - precision - (mantissa == 0.5))
        if not rounded(below * bins) < region <= rounded(edge * bins):
            return False
    return True


def _counts_unrolled(g: Tensor, bins: int) -> Tensor:
    """A comparison and a sum for each edge, all in one loop over the norms once they are compiled."""
    number = torch.int64 if g.numel() >= 2**31 else torch.int32
    return _regions_of(torch.stack([mask.sum(dtype=number) for mask in _at_least(g, bins)]).long())


def _counts_in_pairs(at_least: list[Tensor]) -> Tensor:
    """How many are True in each mask, two numbers in a sum: the compiler puts at most 16 sums into one loop."""
    if at_least[0].numel() >= 2**31:
        return torch.stack([mask.sum() for mask in at_least])
    high = [*at_least[1::2], torch.zeros_like(at_least[0])][: len(at_least[::2])]
    pairs = [low.long() + upper.long() * 2**32 for low, upper in zip(at_least[::2], high, strict=True)]
    sums = torch.stack([pair.sum() for pair in pairs])
    return torch.stack([sums & (2**32 - 1), sums >> 32], dim=1).view(-1)[: len(at_least)]


def _sums_unrolled(at_least: list[Tensor], values: Tensor) -> Tensor:
    """A sum for each region: no differences of sums, in which small ones would be lost beside large ones."""
    within = [torch.where(lower, torch.where(upper, 0.0, values), 0.0) for lower, upper in itertools.pairwise(at_least)]
    last, none = torch.where(at_least[-1], values, 0.0), torch.where(at_least[0], 0.0, values)
    return torch.stack([part.sum() for part in (*within, last, none)])


def _at_least(g: Tensor, bins: int) -> list[Tensor]:
    """Masks of the norms that are numbers, and of those at each edge or above it.

    The edges are numbers of Python here: for so few bins i / bins is rounded to any dtype as the division in it is.
    """
    return [g == g, *(g >= edge / bins for edge in range(1, bins))]  # noqa: PLR0124 - is a number


def _regions_of(cumulative: Tensor) -> Tensor:
    return cumulative - nn.functional.pad(cumulative[1:], (0, 1))


def region_coefficients(
    counts: Tensor, state: Tensor | None, dtype: torch.dtype, *, norm: str, momentum: float | None, ema: str
) -> tuple[Tensor, Tensor]:
    """Weight by N of an example in each region, 0 for empty regions; and the new moving average."""
    one_of("norm", norm, NORMS)
    one_of("ema", ema, MOVING_AVERAGES)
    if state is None:
        state = torch.zeros(counts.shape, dtype=dtype, device=counts.device)
    else:
        float_tensor("state", state, shape=counts.shape, of="one number a region")
        state = state.detach().to(compute_dtype(state))
    size = counts
    if momentum is not None:
        size = state = moving_average_counts(state, counts, momentum=momentum, ema=ema)
    nonempty = counts > 0
    num_regions = counts.shape[0] if norm == "M" else nonempty.sum()
    return torch.where(nonempty, 1.0 / (size.to(dtype) * num_regions), 0.0), state


def coefficient(g: Tensor, coefficients: Tensor | None, by_element: tuple[Tensor, ...]) -> Tensor:
    """Coefficient of every element: that of its region, or given."""
    if coefficients is None:
        return by_element[0]
    if coefficients.shape[0] == 1:
        return coefficients
    bins = coefficients.shape[0]
    if torch.compiler.is_compiling() and bins <= MOST_UNROLLED:  # half the time of looking them up
        found = coefficients[0]
        for number, above_its_edge in enumerate(_at_least(g.detach(), bins)[1:], 1):
            found = torch.where(above_its_edge, coefficients[number], found)
        return found
    index = region_index(g.detach(), bins)
    return coefficients.index_select(0, index.reshape(-1)).view(g.shape)  # takes int32, where [] makes it int64


def inverse_density(g: Tensor, valid: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Window length by number of neighbours, 0 where not counted; and which norms are counted: valid, not NaN."""
    placed = counted_norms(g, valid)
    ordered, order = placed.reshape(-1).sort()
    inverse = inverse_of(ordered, neighbours(ordered, ordered, epsilon), epsilon)
    return torch.zeros_like(ordered).scatter(0, order, inverse).view(g.shape), placed < torch.inf


def counted_norms(g: Tensor, valid: Tensor) -> Tensor:
    """The norms, infinite where not counted: not valid, or not a number."""
    return torch.where(valid & (g == g), g, torch.inf)  # noqa: PLR0124 - is a number


def neighbours(ordered: Tensor, g: Tensor, epsilon: float) -> Tensor:
    """int32 number of the sorted norms (N,) within half a window of each of `g`: ends closed below, open above."""
    half = 0.5 * epsilon
    # a window below the resolution still holds the example and its duplicates
    above = torch.maximum(g + half, torch.nextafter(g, torch.full_like(g, torch.inf)))
    fewer = torch.searchsorted(ordered, g - half, out_int32=True)
    return torch.searchsorted(ordered, above, out_int32=True) - fewer


def inverse_of(g: Tensor, num_neighbours: Tensor, epsilon: float) -> Tensor:
    """Part of the window within [0, 1] by the number of neighbours, 0 at infinity."""
    half = 0.5 * epsilon
    length = (1.0 - g).clamp(max=half) + g.clamp(max=half)
    return torch.where(g < torch.inf, length / num_neighbours, 0.0)


def mask_like(values: Tensor, valid: Tensor | None, *, of: str) -> Tensor:
    """The mask, or one True seen in every place."""
    if valid is None:
        return torch.ones((), dtype=torch.bool, device=values.device).expand(values.shape)
    return discrete_tensor("valid", valid, shape=values.shape, of=f"that of {of}").bool()


def window_length(epsilon: float) -> float:
    """`epsilon` in (0, 2]."""
    if positive("epsilon", epsilon) > LONGEST_WINDOW:
        raise ValueError(f"epsilon: expected a number in (0, 2], got {epsilon}")
    return float(epsilon)


def _norms(gradient_norms: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    float_tensor("gradient_norms", gradient_norms)
    is_valid = mask_like(gradient_norms, valid, of="gradient_norms")
    return gradient_norms.detach().to(compute_dtype(gradient_norms)), is_valid
