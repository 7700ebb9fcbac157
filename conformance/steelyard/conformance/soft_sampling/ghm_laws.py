"""Laws, practical errors, dialects and rulings that the contracts of the gradient harmonizing mechanism share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from steelyard.conformance.checking import Bench, float_format, same_as
from steelyard.conformance.contract import (
    Array,
    Case,
    Check,
    Dialect,
    Option,
    OptionValue,
    Output,
    PracticalError,
    Ruling,
)
from steelyard.conformance.judging import Bounds
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.conformance.soft_sampling.ghm_inputs import (
    counts_of,
    number_of,
    reversed_elements,
    sums_of_regions,
    twice,
    with_bins,
)
from steelyard.reference.soft_sampling.gradient_density import (
    harmonizing_weights,
    unit_region_index,
    unit_region_weights,
)

_STEPS = 3
_FEW = 4.0
_FLOAT32_EPSILON = 2.0**-23

DIALECTS = (
    Dialect("paper", "divides by all M regions; empty regions decay in the moving average",
            {"norm": "M", "ema": "full"}, departs_from_paper=False),
    Dialect("authors_code", "divides by the regions that are not empty; empty regions keep their moving average",
            {"norm": "nonempty", "ema": "lazy"}),
    Dialect("decaying_nonempty", "divides by the regions that are not empty; empty regions decay",
            {"norm": "nonempty", "ema": "full"}),
    Dialect("kept_M", "divides by all M regions; empty regions keep their moving average",
            {"norm": "M", "ema": "lazy"}),
)  # fmt: skip
REGION_OPTIONS = (
    Option("bins", 10, "M, number of unit regions, >= 1"),
    Option("norm", "nonempty", "divide by the regions that are not empty in this call (nonempty) or by all (M)"),
    Option("momentum", None, "share of the old counts that is kept, in [0, 1); None: no moving average"),
    Option("ema", "lazy", "the average changes where the call has examples (lazy) or in every region (full)"),
)
EPSILON_OPTION = Option("epsilon", 0.1, "length of the window, in (0, 2]; the specification has no default")
REDUCTION_OPTION = Option("reduction", "sum", "sum: the loss; none: the terms of which it is the sum")
STATE = Output("state", ("M",), "float", "the moving average after this call; as given without a momentum")

TWO_NORMS = Ruling(
    "two-norms", "The paper divides by M, its authors' code by the number of regions that are not empty in the call. "
    "Both have a name; the default is the code's, with which the results were produced.",
)  # fmt: skip
EDGES = Ruling(
    "edges", "A region holds its lower edge, the last one both. Edges are compared: floor(g M) rounds g M first."
)
AVERAGE = Ruling(
    "average", "The paper's moving average changes in every region, the code's where the call has examples. The first "
    "step from zeros is not corrected: weights are 1 / (1 - momentum) times as large.",
)  # fmt: skip
NOT_A_NUMBER = Ruling("not-a-number", "NaN is not an example: it is not counted, and gives NaN in its own element.")
NO_EXAMPLE = Ruling("no-example", "Without an example the loss is 0, and so is its gradient.")
ONE_HISTOGRAM = Ruling("one-histogram", "Images, levels, anchors and classes of a call are counted together.")
CONSTANT = Ruling("constant-weights", "Weights are constants for the gradient: density is measured, not optimised.")
HALVES = Ruling("half-precision", "float16 and bfloat16 are computed in float32.")
NOT_VALID = Ruling("not-valid", "What is not valid is not counted, has loss 0 and gradient 0, whatever its numbers.")
TERMS = Ruling("terms", "Without reduction the terms weight * loss / N are returned, whose sum is the loss.")

IMPLIED = "implied by {}; kept because a failure then names the law that is broken"


def effective(bench: Bench, case: Case, name: str) -> OptionValue:
    """An option as the candidate's dialect has it."""
    dialect = {} if bench.dialect is None else bench.dialect.options
    return dialect.get(name, case.options[name])


def bounds_of(bench: Bench, case: Case, dtype: str, output: int = 0) -> Bounds:
    """Bounds of a float output."""
    bounds = bench.bounds(case, dtype, output)
    assert bounds is not None
    return bounds


def summed(bounds: Bounds) -> Bounds:
    """Bounds of the sum."""
    return Bounds(np.asarray(bounds.strict.sum()), np.asarray(bounds.loose.sum()))


# --- laws of weights ------------------------------------------------------------------------------------------


def weights_reversed(bench: Bench, case: Case) -> None:
    """The elements in reverse: the weights in reverse, and the same state."""
    here, there = bench.evaluate(case), bench.evaluate(reversed_elements(case))
    for number, (one, other) in enumerate(zip(here.outputs, there.outputs, strict=True)):
        dtype = float_format(here.dtypes[number], case)
        bounds = bench.bounds(case, dtype, number)
        double = None if bounds is None else bounds + bounds
        actual = other[::-1] if number == 0 else other
        bench.expect_close(case, actual, one, double, dtype, "answer to the elements in reverse")


def weights_of_twice(bench: Bench, case: Case) -> None:
    """Every element twice: the weights that they had."""
    here, there = bench.evaluate(case), bench.evaluate(twice(case))
    dtype = float_format(here.dtypes[0], case)
    bounds = bounds_of(bench, case, dtype)
    first = there.outputs[0][: len(here.outputs[0])]
    bench.expect_close(case, first, here.outputs[0], bounds + bounds, dtype, "value of every element twice")


def weights_sum_to_examples(bench: Bench, case: Case) -> None:
    """Without a moving average the weights sum to N, or to N n / M."""
    answer = bench.evaluate(case)
    counts = counts_of(case.arguments["gradient_norms"], case.arguments["valid"], case)
    regions = counts.size if effective(bench, case, "norm") == "M" else number_of(counts)
    expected = np.asarray(counts.sum() * np.count_nonzero(counts) / regions)
    dtype = float_format(answer.dtypes[0], case)
    total = np.asarray(np.asarray(answer.outputs[0], dtype=np.float64).sum())
    bench.expect_close(case, total, expected, summed(bounds_of(bench, case, dtype)), dtype, "sum of the weights")


def one_region_weighs_one(bench: Bench, case: Case) -> None:
    """With one region every example has weight 1."""
    special = with_bins(1, case)
    answer = bench.evaluate(special)
    dtype = float_format(answer.dtypes[0], case)
    expected = case.arguments["valid"].astype(np.float64)
    bench.expect_close(special, answer.outputs[0], expected, bounds_of(bench, special, dtype), dtype, "value")


def average_forgets_its_start(bench: Bench, case: Case) -> None:
    """The same mini-batch again and again, from zeros: after t steps the state is (1 - momentum^t) R."""
    state = np.zeros(case.arguments["state"].shape)
    for _ in range(_STEPS):
        step = replace(case, arguments={**case.arguments, "state": state})
        answer = bench.evaluate(step)
        given_back = np.nan_to_num(np.asarray(answer.outputs[1], dtype=np.float64))
        state = round_to(case.dtype, np.maximum(given_back, 0.0))
    momentum, dtype = option(case, "momentum"), float_format(answer.dtypes[1], case)
    counts = bench.technique.evaluate(case.with_options(momentum=0.0, ema="full"))[1]
    bounds = bounds_of(bench, step, dtype, 1)
    expected = (1.0 - momentum**_STEPS) * counts
    what = f"state after {_STEPS} equal mini-batches"
    bench.expect_close(step, answer.outputs[1], expected, bounds + bounds + bounds, dtype, what)


# --- losses ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Elements:
    """What a harmonized loss is made of, from the plainest formulas."""

    losses: Array
    norms: Array
    valid: Array
    sizes: Array
    """Of the numbers that cancel in an element's loss where it is computed in the textbook's way."""


Read = Callable[[Case], Elements]


def region_weights(elements: Elements, case: Case) -> Array:
    """The weights of a case's own options."""
    names = ("bins", "norm", "momentum", "ema")
    options = {name: case.options[name] for name in names}
    return unit_region_weights(elements.norms, elements.valid, case.arguments.get("state"), **options).weights  # type: ignore[arg-type]


def window_weights(elements: Elements, case: Case) -> Array:
    """The weights of the exact density."""
    return harmonizing_weights(elements.norms, elements.valid, epsilon=option(case, "epsilon"))


def practical_errors(read: Read, *, exact: bool = False) -> tuple[PracticalError, PracticalError]:
    """Further errors of value and gradient, as libraries compute them.

    The element's loss is off by a few roundoffs of what cancels in it, the gradient norm |p - y| by as many of 1:
    so are the gradient, and the length of an exact window. A divisor N + 2^-23 is common, in every format.
    """

    def parts(case: Case, u: float) -> tuple[Elements, Array, Array]:
        elements = read(case)
        counted = elements.valid & ~np.isnan(elements.norms)
        examples = number_of(counted)
        weights = window_weights(elements, case) if exact else region_weights(elements, case)
        relative = np.full(weights.shape, _FLOAT32_EPSILON / examples)
        if exact:
            half = option(case, "epsilon") / 2.0
            relative += _FEW * u / (np.minimum(half, 1.0 - elements.norms) + np.minimum(half, elements.norms))
        return elements, np.where(counted, weights, 0.0) / examples, relative

    def value(case: Case, u: float) -> Array:
        elements, coefficients, relative = parts(case, u)
        with np.errstate(invalid="ignore"):
            errors = coefficients * (relative * elements.losses + _FEW * u * np.minimum(elements.sizes, 1.0 / u))
        errors = np.nan_to_num(errors, nan=0.0, posinf=0.0)
        return errors if case.options["reduction"] == "none" else np.asarray(errors.sum())

    def gradient(case: Case, u: float) -> Array:
        elements, coefficients, relative = parts(case, u)
        errors = np.nan_to_num(coefficients * (relative * elements.norms + _FEW * u), nan=0.0, posinf=0.0)
        return errors if case.cotangent is None else errors * np.abs(case.cotangent)

    return value, gradient


def summands_of(loss: Callable[..., object], read: Read) -> Callable[[Case], tuple[int, Array]]:
    """Number of terms and their sum: none is negative."""

    def summands(case: Case) -> tuple[int, Array]:
        returned = loss(**case.arguments, **case.options)
        first = np.asarray(returned[0] if isinstance(returned, tuple) else returned, dtype=np.float64)
        if case.options["reduction"] == "none":
            return 1, np.zeros(first.shape)
        return number_of(read(case).valid), np.nan_to_num(first, nan=0.0, posinf=0.0)

    return summands


def one_region_is_the_mean(read: Read) -> Check:
    """With one region it is the mean of the element losses."""

    def check(bench: Bench, case: Case) -> None:
        _expect_mean(bench, with_bins(1, case), read(case))

    return check


def longest_window_is_the_mean(read: Read) -> Check:
    """A window that holds all norms: the mean of the element losses."""

    def check(bench: Bench, case: Case) -> None:
        _expect_mean(bench, case.with_options(epsilon=2.0), read(case))

    return check


def _expect_mean(bench: Bench, special: Case, elements: Elements) -> None:
    answer = bench.evaluate(special)
    dtype = float_format(answer.dtypes[0], special)
    losses = elements.losses[elements.valid]
    expected = np.asarray(losses.mean() if losses.size else 0.0)
    bench.expect_close(special, answer.outputs[0], expected, bounds_of(bench, special, dtype), dtype, "value")


def regions_have_equal_say(read: Read, argument: str) -> Check:
    """The absolute gradients of a region sum to its mean norm by the number of regions, however many it holds."""

    def check(bench: Bench, case: Case) -> None:
        plain_case = replace(case, cotangent=None)
        elements = read(plain_case)
        answer = bench.evaluate(plain_case, (argument,))
        expected_each = bench.technique.evaluate_gradient(argument, plain_case, bench.dialect)
        dtype = float_format(answer.gradient_dtypes[argument], case)
        value_dtype = float_format(answer.dtypes[0], case)
        each = bench.gradient_bounds(plain_case, argument, expected_each, dtype, value_dtype)

        def of_regions(values: Array) -> Array:
            return sums_of_regions(values, elements.norms, elements.valid, case)

        counts = counts_of(elements.norms, elements.valid, case)
        regions = counts.size if effective(bench, case, "norm") == "M" else number_of(counts)
        expected = of_regions(elements.norms) / np.maximum(counts, 1) / regions
        found = of_regions(np.abs(np.asarray(answer.gradients[argument], dtype=np.float64)))
        bounds = Bounds(of_regions(each.strict), of_regions(each.loose))
        bench.expect_close(plain_case, found, expected, bounds, dtype, "sum of a region's absolute gradients")

    return check


def between_the_element_losses(read: Read) -> Check:
    """Not above the largest element loss; without empty regions in the divisor, not below the smallest."""

    def check(bench: Bench, case: Case) -> None:
        answer = bench.evaluate(case)
        elements = read(case)
        losses = elements.losses[elements.valid]
        smallest, largest = (losses.min(), losses.max()) if losses.size else (0.0, 0.0)
        low = 0.0 if effective(bench, case, "norm") == "M" else smallest
        loss, dtype = np.asarray(answer.outputs[0], dtype=np.float64), float_format(answer.dtypes[0], case)
        nearest = np.clip(np.nan_to_num(loss), low, largest)
        bench.expect_close(case, loss, nearest, bounds_of(bench, case, dtype), dtype, "value outside its bounds")

    return check


def a_region_twice(read: Read) -> Check:
    """The examples of one region twice: the same loss."""

    def doubled(case: Case) -> Case:
        index = unit_region_index(read(case).norms, bins=int(option(case, "bins")))
        chosen = index == index.flat[0]
        again = {**case.arguments, "valid": case.arguments["valid"] & chosen}
        return case.with_arguments(
            **{n: v if n == "state" else np.concatenate([v, again[n]]) for n, v in case.arguments.items()}
        )

    return same_as(doubled, "value with the examples of one region twice")


def windows_bound_the_loss(read: Read) -> Check:
    """An example has from 1 to N neighbours: the loss lies between those of these densities."""

    def check(bench: Bench, case: Case) -> None:
        answer = bench.evaluate(case)
        elements, half = read(case), option(case, "epsilon") / 2.0
        length = np.minimum(half, 1.0 - elements.norms) + np.minimum(half, elements.norms)
        highest = float((length * elements.losses)[elements.valid].sum())
        lowest = highest / number_of(elements.valid)
        loss, dtype = np.asarray(answer.outputs[0], dtype=np.float64), float_format(answer.dtypes[0], case)
        nearest = np.clip(np.nan_to_num(loss), lowest, highest)
        bench.expect_close(case, loss, nearest, bounds_of(bench, case, dtype), dtype, "value outside its bounds")

    return check
