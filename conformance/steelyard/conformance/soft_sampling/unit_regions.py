"""Contracts of the parts of the unit-region approximation: region of a norm, counts, and their moving average.

Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equations 9 and 12; their
oracles stand with the gradient density.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    float_format,
    leaving_out,
    padding,
    permutation,
    plain,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Dialect,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.plain_mistakes import (
    broadcasting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    unchecked,
    with_default_for_zero,
    without_mask,
)
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.ghm_inputs import (
    BINS,
    GHM_CODE,
    GHM_PAPER,
    MOMENTA,
    Options,
    clear_norms,
    draw_norms,
    draw_state,
    draw_valid,
    loss_shape,
    not_valid,
    reversed_elements,
)
from steelyard.conformance.soft_sampling.ghm_laws import AVERAGE, EDGES, HALVES, IMPLIED, NOT_A_NUMBER, ONE_HISTOGRAM
from steelyard.reference.soft_sampling import gradient_density as oracle

_OTHER_BINS = (30, 4, 5, 2, 7, 1)
_INDEX, _COUNTS, _AVERAGE = oracle.unit_region_index, oracle.unit_region_counts, oracle.moving_average_counts

# --- inputs ---------------------------------------------------------------------------------------------------


def _norms(draw: Draw, shape: tuple[int, ...], bins: int = BINS) -> Case:
    dtype = draw.dtype()
    return clear_norms(Case({"gradient_norms": draw_norms(draw, shape, dtype)}, {"bins": bins}, dtype))


def in_regions(draw: Draw) -> Case:
    """Norms clear of the edges of ten regions."""
    return _norms(draw, loss_shape(draw))


def other_bins(draw: Draw) -> Case:
    """Other numbers of regions than ten."""
    return _norms(draw, loss_shape(draw), draw.choice(_OTHER_BINS))


def on_edges(draw: Draw) -> Case:
    """Norms on 0, 1/2 and 1 among ten regions."""
    norms = draw.array(loss_shape(draw), lambda: draw.choice((0.5, 1.0, 0.0)))
    return Case({"gradient_norms": norms}, {"bins": BINS}, draw.dtype())


def on_exact_edges(draw: Draw) -> Case:
    """Norms on edges that every format holds."""
    bins = draw.choice((2, 4, 8, 16))
    return Case({"gradient_norms": draw.integers(loss_shape(draw), 0, bins) / bins}, {"bins": bins}, draw.dtype())


def on_rounded_edges(draw: Draw) -> Case:
    """Norms that are j / M, rounded: where floor(g M) goes wrong, among others."""
    bins = draw.choice((10, 49, 30, 98))
    return Case({"gradient_norms": draw.integers(loss_shape(draw), 0, bins) / bins}, {"bins": bins}, draw.dtype())


def no_norms(draw: Draw) -> Case:
    """No element at all."""
    return _norms(draw, draw.choice(((0,), (0, 3), (2, 0))))


def index_scene(seed: int) -> Case:
    """5,000 norms."""
    norms = round_to("float32", np.random.default_rng(seed).random(5000))
    return clear_norms(Case({"gradient_norms": norms}, {"bins": BINS}, "float32", origin=f"scene {seed}"))


def _masked(generator: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
    def masked(draw: Draw) -> Case:
        case = generator(draw)
        return case.with_arguments(valid=draw_valid(draw, case.arguments["gradient_norms"].shape))

    masked.__doc__ = generator.__doc__
    return masked


counted, counted_other_bins = _masked(in_regions), _masked(other_bins)
counted_on_edges, counted_on_exact_edges = _masked(on_edges), _masked(on_exact_edges)
counted_on_rounded_edges = _masked(on_rounded_edges)


def nothing_counted(draw: Draw) -> Case:
    """No element, or none that is valid."""
    return not_valid(counted(draw)) if draw.flag() else _masked(no_norms)(draw)


def counted_with_nan(draw: Draw) -> Case:
    """A norm that is NaN."""
    case = counted(draw)
    norms = case.arguments["gradient_norms"].copy()
    norms.flat[0] = np.nan
    return case.with_arguments(gradient_norms=norms, valid=np.ones(norms.shape, dtype=np.bool_))


def counted_scene(seed: int) -> Case:
    """5,000 norms, a tenth of them not valid."""
    case = index_scene(seed)
    valid = np.random.default_rng(seed).random(5000) < 0.9
    return Case({**case.arguments, "valid": valid}, case.options, case.dtype, origin=case.origin)


def half_counted_scene(seed: int) -> Case:
    """4,000 norms of one region in float16, which counts to 2048."""
    norms = round_to("float16", np.random.default_rng(seed).uniform(0.22, 0.28, 4000))
    arguments = {"gradient_norms": norms, "valid": np.ones(4000, dtype=np.bool_)}
    return Case(arguments, {"bins": BINS}, "float16", origin=f"scene {seed}")


def averages(draw: Draw) -> Case:
    """An average and the counts of a call, some of them 0, not all."""
    dtype = draw.dtype()
    number = draw.choice((10, 1, 3, 30))
    few = draw.integers((4,), 0, 90) * draw.integers((4,), 0, 1)
    few[0] = max(few[0], 1)
    counts = np.resize(few, number)
    options: Options = {"momentum": draw.choice(MOMENTA), "ema": draw.choice(("lazy", "full"))}
    return Case({"state": draw_state(draw, number, dtype), "counts": counts}, options, dtype)


def momentum_zero(draw: Draw) -> Case:
    """Momentum 0."""
    return averages(draw).with_options(momentum=0.0)


def no_counts(draw: Draw) -> Case:
    """A call without an example."""
    case = averages(draw)
    return case.with_arguments(counts=np.zeros_like(case.arguments["counts"]))


def many_counts(draw: Draw) -> Case:
    """Counts that float16 does not hold."""
    case = averages(draw)
    return case.with_arguments(counts=case.arguments["counts"] * 10007)


# --- laws -----------------------------------------------------------------------------------------------------


def counts_sum_to_examples(bench: Bench, case: Case) -> None:
    """Every example is in one region."""
    answer = bench.evaluate(case)
    total = int(np.asarray(answer.outputs[0]).sum())
    wanted = int(np.count_nonzero(case.arguments["valid"]))
    bench.expect(total == wanted, f"the counts sum to {total}, of {wanted} examples", case)


def within_the_regions(bench: Bench, case: Case) -> None:
    """Indices from 0 to M - 1."""
    index = np.asarray(bench.evaluate(case).outputs[0])
    last = int(option(case, "bins")) - 1
    bench.expect(bool(((index >= 0) & (index <= last)).all()), f"an index is outside [0, {last}]: {index}", case)


def equal_counts_stay(bench: Bench, case: Case) -> None:
    """An average that equals the counts stays."""
    state = round_to(case.dtype, case.arguments["counts"].astype(np.float64))
    same = case.with_arguments(state=state)
    found = np.asarray(bench.evaluate(same).outputs[0], dtype=np.float64)
    plain(bench, same, found, state, "average at its fixed point")


def between_old_and_new(bench: Bench, case: Case) -> None:
    """The average is between the old one and the counts."""
    answer = bench.evaluate(case)
    old, new = case.arguments["state"], case.arguments["counts"].astype(np.float64)
    found, dtype = np.asarray(answer.outputs[0], dtype=np.float64), float_format(answer.dtypes[0], case)
    nearest = np.clip(found, np.minimum(old, new), np.maximum(old, new))
    bench.expect_close(case, found, nearest, bench.bounds(case, dtype), dtype, "value outside its bounds")


# --- mutants --------------------------------------------------------------------------------------------------


def _of_norms(change: Callable[[Array, int], Array]) -> Callable[..., Array]:
    """The right index of other norms."""

    def index(gradient_norms: Array, *, bins: int) -> Array:
        _INDEX(gradient_norms, bins=bins)
        return _INDEX(change(np.asarray(gradient_norms, np.float64), bins), bins=bins)

    return index


def _shifted(by: int, *, where: Callable[[Array], Array]) -> Callable[..., Array]:
    def index(gradient_norms: Array, *, bins: int) -> Array:
        return _INDEX(gradient_norms, bins=bins) + by * where(np.asarray(gradient_norms))

    return index


def _half_index(gradient_norms: Array, *, bins: int) -> Array:
    exact = _INDEX(gradient_norms, bins=bins)
    return np.minimum(exact + 1, bins - 1) if np.asarray(gradient_norms).dtype == np.float16 else exact


def rounded_product(g: Array, bins: int) -> Array:
    return (np.minimum(np.floor(g * bins), bins - 1) + 0.5) / bins


def below(g: Array, _: int) -> Array:
    return np.where(g > 0, np.nextafter(g, -1.0), g)


def nearest_edge(g: Array, bins: int) -> Array:
    return (np.minimum(np.round(g * bins), bins - 1) + 0.5) / bins


INDEX_MUTANTS = (
    Mutant("unit-region-index/upper-closed", "regions that hold their upper edge in place of the lower one",
           _of_norms(below)),
    Mutant("unit-region-index/rounded-product", "floor(g M), which rounds g M first", _of_norms(rounded_product)),
    Mutant("unit-region-index/nearest-edge", "the nearest edge, by rounding", _of_norms(nearest_edge)),
    Mutant("unit-region-index/from-one", "regions counted from 1", _shifted(1, where=np.ones_like)),
    Mutant("unit-region-index/beyond-the-last", "region M for a norm of 1",
           lambda gradient_norms, *, bins: _INDEX(gradient_norms, bins=bins) + (np.asarray(gradient_norms) == 1.0)),
    Mutant("unit-region-index/ten-regions", "ten regions whatever was asked for",
           lambda gradient_norms, *, bins: _INDEX(gradient_norms, bins=10 if bins > 0 else bins)),
    Mutant("unit-region-index/half-product", "a product g M that is rounded up in float16", _half_index),
    Mutant("unit-region-index/lost-tail", "region 0 for the last elements of a large input", losing_the_tail(_INDEX)),
    Mutant("unit-region-index/in-place", "its input overwritten", overwriting(_INDEX, "gradient_norms")),
    Mutant("unit-region-index/unchecked", "no check of the number of regions",
           unchecked(_INDEX, bins=lambda bins: max(bins, 1))),
    Mutant("unit-region-index/raises-on-empty", "an error on empty input", failing_on_empty(_INDEX, "gradient_norms")),
)  # fmt: skip


def _of_examples(change: Callable[[Array, Array, int], tuple[Array, Array]]) -> Callable[..., Array]:
    """The right counts of other norms and another mask."""

    def counts(gradient_norms: Array, valid: Array, *, bins: int) -> Array:
        _COUNTS(gradient_norms, valid, bins=bins)
        g, v = np.asarray(gradient_norms, np.float64), np.asarray(valid, np.bool_)
        return _COUNTS(*change(g, v, bins), bins=bins)

    return counts


def ten_counts(gradient_norms: Array, valid: Array, *, bins: int) -> Array:
    _COUNTS(gradient_norms, valid, bins=bins)
    return np.resize(_COUNTS(gradient_norms, valid, bins=10), bins)


def half_counts(gradient_norms: Array, valid: Array, *, bins: int) -> Array:
    right = _COUNTS(gradient_norms, valid, bins=bins)
    return np.minimum(right, 2048) if np.asarray(gradient_norms).dtype == np.float16 else right


def one_too_many(gradient_norms: Array, valid: Array, *, bins: int) -> Array:
    return _COUNTS(gradient_norms, valid, bins=bins) + 1


def whole_chunks(gradient_norms: Array, valid: Array, *, bins: int) -> Array:
    mask = losing_the_tail(lambda **keywords: np.asarray(keywords["valid"], np.float64))(valid=valid)
    return _COUNTS(gradient_norms, mask, bins=bins)


COUNT_MUTANTS = (
    Mutant("unit-region-counts/upper-closed", "regions that hold their upper edge in place of the lower one",
           _of_examples(lambda g, v, bins: (below(g, bins), v))),
    Mutant("unit-region-counts/rounded-product", "floor(g M), which rounds g M first",
           _of_examples(lambda g, v, bins: (np.where(np.isnan(g), g, rounded_product(g, bins)), v))),
    Mutant("unit-region-counts/last-edge-open", "no region for a norm of 1",
           _of_examples(lambda g, v, _: (g, v & (g != 1.0)))),
    Mutant("unit-region-counts/ignored-counted", "elements that are not valid counted",
           _of_examples(lambda g, v, _: (g, np.ones(v.shape, np.bool_)))),
    Mutant("unit-region-counts/nan-in-last-region", "NaN counted in the last region",
           _of_examples(lambda g, v, _: (np.nan_to_num(g, nan=1.0), v)), seen_in="torch.bucketize"),
    Mutant("unit-region-counts/ten-regions", "ten regions whatever was asked for", ten_counts),
    Mutant("unit-region-counts/one-too-many", "every count with one more", one_too_many),
    Mutant("unit-region-counts/half-counter", "counts that stop at 2048 in float16", half_counts),
    Mutant("unit-region-counts/lost-tail", "the last elements of a large input not counted", whole_chunks),
    Mutant("unit-region-counts/in-place", "its inputs overwritten", overwriting(_COUNTS, "gradient_norms", "valid")),
    Mutant("unit-region-counts/unchecked", "no check of the number of regions",
           unchecked(_COUNTS, bins=lambda bins: max(bins, 1))),
    Mutant("unit-region-counts/broadcast", "the mask broadcast to norms of another shape",
           broadcasting(_COUNTS, "valid", "gradient_norms")),
    Mutant("unit-region-counts/raises-on-empty", "an error on empty input",
           failing_on_empty(_COUNTS, "gradient_norms")),
    Mutant("unit-region-counts/no-mask-is-none", "nothing counted without a mask",
           without_mask(_COUNTS, "valid", "gradient_norms")),
)  # fmt: skip


def swapped_momentum(state: Array, counts: Array, *, momentum: float, ema: str) -> Array:
    return _AVERAGE(state, counts, momentum=1.0 - momentum, ema=ema)


def swapped_average(state: Array, counts: Array, *, momentum: float, ema: str) -> Array:
    return _AVERAGE(state, counts, momentum=momentum, ema={"lazy": "full", "full": "lazy"}[ema])


def corrected_start(state: Array, counts: Array, *, momentum: float, ema: str) -> Array:
    average = _AVERAGE(state, counts, momentum=momentum, ema=ema)
    return average if np.asarray(state).any() else average / (1.0 - momentum)


def emptied(state: Array, counts: Array, *, momentum: float, ema: str) -> Array:
    """Regions without examples forget their average, where all do."""
    average = _AVERAGE(state, counts, momentum=momentum, ema=ema)
    return average if np.asarray(counts).any() else np.zeros(average.shape)


def half_average(state: Array, counts: Array, *, momentum: float, ema: str) -> Array:
    average = _AVERAGE(state, counts, momentum=momentum, ema=ema)
    lost = (np.asarray(state).dtype == np.float16) & (np.asarray(counts) > 65504)
    return np.where(lost, np.inf, average)


def unchecked_average(state: Array, counts: Array, **options: Any) -> Array:  # noqa: ANN401
    return unchecked(
        _AVERAGE,
        momentum=lambda momentum: min(max(momentum, 0.0), 0.999),
        ema=lambda ema: ema if ema in oracle.MOVING_AVERAGES else "lazy",
    )(state=state, counts=counts, **options)


AVERAGE_MUTANTS = (
    Mutant("moving-average/swapped-momentum", "momentum on the new counts", swapped_momentum),
    Mutant("moving-average/swapped-average", "lazy for full and full for lazy", swapped_average),
    Mutant("moving-average/corrected-start", "the first step from zeros corrected by 1 - momentum", corrected_start),
    Mutant("moving-average/emptied", "all averages 0 after a call without an example", emptied),
    Mutant("moving-average/zero-momentum-is-default", "momentum = 0 taken as not given",
           with_default_for_zero(_AVERAGE, "momentum", 0.75)),
    Mutant("moving-average/half-counts", "counts in float16, infinite above 65504", half_average),
    Mutant("moving-average/in-place", "the state overwritten", overwriting(_AVERAGE, "state")),
    Mutant("moving-average/unchecked", "no check of the options", unchecked_average),
    Mutant("moving-average/broadcast", "counts broadcast to a state of another length",
           broadcasting(_AVERAGE, "counts", "state")),
)  # fmt: skip

# --- contracts ------------------------------------------------------------------------------------------------

_NORMS = Argument("gradient_norms", ("...",), "float", "g in [0, 1]")
_VALID = Argument("valid", ("...",), "bool", "which elements are examples")
_BINS = Option("bins", 10, "M, number of unit regions, >= 1")
_BAD_BINS = refuses(bad_option("bins", 0), bad_option("bins", -3))

UNIT_REGION_INDEX = Technique(
    id="unit_region_index",
    title="Unit region of a gradient norm",
    family="soft_sampling",
    summary="In which of M equal parts of [0, 1] a gradient norm lies.",
    sources=(GHM_PAPER + ", equation 9",),
    oracle=_INDEX,
    arguments=(_NORMS,),
    options=(_BINS,),
    outputs=(Output("index", ("...",), "int", "0 to M - 1"),),
    requirements=(
        Requirement("URI-1", Level.MUST, Kind.VALUE, "The index is the number of inner edges j / M that are <= g.",
                    "equation 9", value, in_regions, scenes=(index_scene,), dtypes=FULL),
        Requirement("URI-2", Level.MUST, Kind.VALUE, "There are as many regions as are asked for.", "equation 9",
                    value, other_bins, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant="URI-4 and URI-5 ask for other numbers too"),
        Requirement("URI-3", Level.MUST, Kind.TIES,
                    "A norm on an edge belongs to the region above; the last region holds 1.", "ruling edges", value,
                    on_edges, dtypes=FULL, examples=0.5,
                    no_mutant="URI-4 asks the same of other numbers of regions"),
        Requirement("URI-4", Level.MUST, Kind.TIES,
                    "The same on the edges of 2, 4, 8 and 16 regions, which every format holds.", "ruling edges",
                    value, on_exact_edges, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant="URI-3 asks the same of ten regions, for who has no other"),
        Requirement("URI-5", Level.SHOULD, Kind.TIES, "In float64 the edges are j / M, rounded, and compared.",
                    "ruling edges", value, on_rounded_edges, options=("bins",), dtypes=("float64",), examples=0.5),
        Requirement("URI-6", Level.SHOULD, Kind.EXTREME, "Half-precision norms have the regions they have in float32.",
                    "ruling half-precision", value, in_regions, dtypes=HALF, examples=0.5),
        Requirement("URI-7", Level.MUST, Kind.EMPTY, "No norms give no indices, in the same shape.",
                    "ruling: an image without anchors is legal", value, no_norms, dtypes=FULL, examples=0.2),
        Requirement("URI-8", Level.MUST, Kind.BOUND, "Every index is from 0 to M - 1.", "equation 9",
                    within_the_regions, on_edges, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("URI-3")),
        Requirement("URI-9", Level.MUST, Kind.INVARIANCE, "Reordering the norms reorders the indices.", "equation 9",
                    permutation, in_regions, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("URI-1")),
        Requirement("URI-10", Level.MUST, Kind.PURITY,
                    "The norms are not written to, and equal calls give equal bits.", "house rule", purity,
                    in_regions, dtypes=FULL, examples=0.3),
        Requirement("URI-11", Level.MAY, Kind.ERROR, "A number of regions below 1 is refused.", "house rule",
                    _BAD_BINS, in_regions, dtypes=FULL, examples=0.2),
    ),
    mutants=INDEX_MUTANTS,
    rulings=(EDGES, HALVES),
    not_applicable={
        Kind.GRADIENT: "integers have no gradient", Kind.DETACHED: "integers have no gradient",
        Kind.REDUCES_TO: "one region is one of the numbers asked for", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "see unit_region_counts", Kind.BATCH: "element by element: URI-9",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

UNIT_REGION_COUNTS = Technique(
    id="unit_region_counts",
    title="Examples in each unit region",
    family="soft_sampling",
    summary="The histogram of the gradient norms of all examples of a call.",
    sources=(GHM_PAPER + ", equation 9",),
    oracle=_COUNTS,
    arguments=(_NORMS, _VALID),
    options=(_BINS,),
    outputs=(Output("counts", ("M",), "int", "examples in each region"),),
    requirements=(
        Requirement("URC-1", Level.MUST, Kind.VALUE, "Each count is the number of valid norms in its region.",
                    "equation 9", value, counted, scenes=(counted_scene,), dtypes=FULL),
        Requirement("URC-2", Level.MUST, Kind.VALUE, "There are as many regions as are asked for.", "equation 9",
                    value, counted_other_bins, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant="URC-4 and URC-5 ask for other numbers too"),
        Requirement("URC-3", Level.MUST, Kind.TIES,
                    "A norm on an edge belongs to the region above; the last region holds 1.", "ruling edges", value,
                    counted_on_edges, dtypes=FULL, examples=0.5,
                    no_mutant="URC-4 asks the same of other numbers of regions"),
        Requirement("URC-4", Level.MUST, Kind.TIES,
                    "The same on the edges of 2, 4, 8 and 16 regions, which every format holds.", "ruling edges",
                    value, counted_on_exact_edges, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant="URC-3 asks the same of ten regions, for who has no other"),
        Requirement("URC-5", Level.SHOULD, Kind.TIES, "In float64 the edges are j / M, rounded, and compared.",
                    "ruling edges", value, counted_on_rounded_edges, options=("bins",), dtypes=("float64",),
                    examples=0.5),
        Requirement("URC-6", Level.SHOULD, Kind.EXTREME,
                    "Half-precision norms are counted as in float32, beyond 2048 of them too.",
                    "ruling half-precision", value, counted, scenes=(half_counted_scene,), dtypes=HALF, examples=0.5),
        Requirement("URC-7", Level.SHOULD, Kind.EXTREME, "NaN is not counted.", "ruling not-a-number", value,
                    counted_with_nan, dtypes=FULL, examples=0.3),
        Requirement("URC-8", Level.MUST, Kind.EMPTY, "Without an example all counts are 0.", "equation 9", value,
                    nothing_counted, dtypes=FULL, examples=0.3),
        Requirement("URC-9", Level.MUST, Kind.CONSERVATION, "The counts sum to the number of examples.", "equation 9",
                    counts_sum_to_examples, counted, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("URC-1")),
        Requirement("URC-10", Level.MUST, Kind.INVARIANCE, "The order of the elements does not matter.", "equation 9",
                    same_as(reversed_elements, "counts of the elements in reverse"), counted, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format("URC-1")),
        Requirement("URC-11", Level.MUST, Kind.BATCH, "Padding that is not valid changes nothing.",
                    "ruling one-histogram", padding(0, gradient_norms=0.0, valid=0.0), counted, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format("URC-1")),
        Requirement("URC-12", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, counted,
                    dtypes=FULL, examples=0.3),
        Requirement("URC-13", Level.SHOULD, Kind.ERROR, "A mask that does not fit is refused.", "house rule",
                    refuses(bad_shape("valid")), counted, dtypes=FULL, examples=0.2),
        Requirement("URC-14", Level.MAY, Kind.ERROR, "A number of regions below 1 is refused.", "house rule",
                    _BAD_BINS, counted, dtypes=FULL, examples=0.2),
        Requirement("URC-15", Level.SHOULD, Kind.EMPTY, "Without a mask all norms are counted.", "house rule",
                    leaving_out("valid"), counted, dtypes=FULL, examples=0.2),
    ),
    mutants=COUNT_MUTANTS,
    rulings=(EDGES, NOT_A_NUMBER, ONE_HISTOGRAM, HALVES),
    not_applicable={
        Kind.GRADIENT: "integers have no gradient", Kind.DETACHED: "integers have no gradient",
        Kind.REDUCES_TO: "one region is one of the numbers asked for", Kind.LIMIT: "no limit",
        Kind.BOUND: "between 0 and N, implied by URC-9", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

MOVING_AVERAGE_COUNTS = Technique(
    id="moving_average_counts",
    title="Moving average of the region counts",
    family="soft_sampling",
    summary="Region counts averaged over mini-batches, old state in, new state out.",
    sources=(GHM_PAPER + ", equation 12", GHM_CODE),
    oracle=_AVERAGE,
    arguments=(
        Argument("state", ("M",), "float", "the average before this call"),
        Argument("counts", ("M",), "int", "examples of this call in each region"),
    ),
    options=(
        Option("momentum", 0.75, "share of the old average that is kept, in [0, 1); the specification has no default"),
        Option("ema", "lazy", "change where the call has examples (lazy) or in every region (full)"),
    ),
    outputs=(Output("state", ("M",), "float", "the average after this call"),),
    dialects=(
        Dialect("paper", "empty regions decay", {"ema": "full"}, departs_from_paper=False),
        Dialect("authors_code", "empty regions keep their average", {"ema": "lazy"}),
    ),
    requirements=(
        Requirement("MAC-1", Level.MUST, Kind.VALUE,
                    "The new average is momentum S + (1 - momentum) R, in every region or where R > 0.",
                    "equation 12; ruling average", value, averages, dtypes=FULL,
                    no_mutant="a wrong average is wrong for large counts too, where MAC-4 sees it",
                    reaches={"an empty region": lambda c: bool((c.arguments["counts"] == 0).any()),
                             "full": lambda c: c.options["ema"] == "full",
                             "the start": lambda c: not c.arguments["state"].any()}),
        Requirement("MAC-2", Level.MAY, Kind.TIES, "With momentum 0 the average is the counts.", "equation 12", value,
                    momentum_zero, options=("momentum",), dtypes=FULL, examples=0.5),
        Requirement("MAC-3", Level.MUST, Kind.EMPTY, "Without an example the average stays or decays.",
                    "ruling average", value, no_counts, dtypes=FULL, examples=0.3),
        Requirement("MAC-4", Level.SHOULD, Kind.EXTREME, "A half-precision state is averaged in float32, with counts "
                    "beyond float16 too.", "ruling half-precision", value, many_counts, dtypes=HALF, examples=0.5),
        Requirement("MAC-5", Level.MUST, Kind.LIMIT, "An average equal to the counts stays.", "equation 12",
                    equal_counts_stay, averages, dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format("MAC-1")),
        Requirement("MAC-6", Level.MUST, Kind.BOUND, "The average is between the old one and the counts.",
                    "equation 12", between_old_and_new, averages, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("MAC-1")),
        Requirement("MAC-7", Level.MUST, Kind.INVARIANCE, "Reordering the regions reorders their averages.",
                    "equation 12", permutation, averages, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("MAC-1")),
        Requirement("MAC-8", Level.MUST, Kind.PURITY,
                    "The state is not written to, and equal calls give equal bits.", "house rule", purity, averages,
                    dtypes=FULL, examples=0.3),
        Requirement("MAC-9", Level.SHOULD, Kind.ERROR, "Counts of another length than the state are refused.",
                    "house rule", refuses(bad_shape("counts")), averages, dtypes=FULL, examples=0.2),
        Requirement("MAC-10", Level.MAY, Kind.ERROR, "Options out of range are refused.", "house rule",
                    refuses(bad_option("momentum", 1.0), bad_option("momentum", -0.5), bad_option("ema", "slow")),
                    averages, dtypes=FULL, examples=0.2),
    ),
    mutants=AVERAGE_MUTANTS,
    rulings=(AVERAGE, HALVES),
    not_applicable={
        Kind.GRADIENT: "counts have no gradient", Kind.DETACHED: "counts have no gradient",
        Kind.REDUCES_TO: "MAC-2 says to what momentum 0 reduces it",
        Kind.CONSERVATION: "conserves nothing", Kind.BATCH: "one average for the whole batch",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
