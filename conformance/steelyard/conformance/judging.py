r"""How far a right answer may be from the oracle's, and whether an answer is that near.

The allowed distance is derived for each element, not one tolerance for all. With $u$ the unit roundoff of the
format in which the technique is to be computed, $y$ the oracle's value and $\kappa$ its condition (relative
change of the inputs into absolute change of $y$), the *strict* bound is

$$ 16 u |y| + 4 u \kappa + u_{out} |y| + \eta $$

plus $u (8 + \log_2 n) \sum |terms|$ where value or gradient is a sum of $n$ terms. $u_{out}$ belongs to the format
of the answer, $\eta$ is the smallest normal number (flushing to zero is allowed). The *loose* bound adds what formulas
found in practice lose (a technique's `practical_error`; for sums the random-walk growth $4 u \sqrt n$), computed
in the coarser of the case's and the answer's format: what computes half precision without float32, or
float64 through float32, lands there.

Inside the strict bound is `pass`, inside the loose one `warn`, outside `fail`. Integers and masks are exact.
NaN is wanted where the oracle gives NaN and nowhere else; an infinity, where the oracle's value is infinite or
beyond the largest number of the answer's format.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from steelyard.conformance.contract import Array, Case, Dialect, Technique
from steelyard.conformance.precision import FLOAT64, PRECISIONS, Float, Precision, computing_precision

OUTPUT_ROUNDOFFS = 16.0
INPUT_ROUNDOFFS = 4.0
SUM_ROUNDOFFS = 8.0
RANDOM_WALK = 4.0
_STEP = 2.0**-30  # relative change of the inputs when the condition is measured: far above the oracle's own rounding
_SIGN_PATTERNS = 4


@dataclass(frozen=True)
class Bounds:
    """Allowed distances, element by element."""

    strict: Float
    loose: Float

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(self.strict + other.strict, self.loose + other.loose)


@dataclass(frozen=True)
class Comparison:
    """Outcome of comparing one array with what it should be."""

    status: str
    """pass, warn or fail."""
    bound_used: float
    """Largest distance as a share of the strict bound."""
    wrong: int
    size: int
    index: tuple[int, ...] = ()
    """Where the worst element is."""
    actual: float = 0.0
    expected: float = 0.0
    allowed: float = 0.0


def value_bounds(
    technique: Technique, case: Case, expected: Float, dtype: str, dialect: Dialect | None, output: int = 0
) -> Bounds:
    """Bounds for a floating output, returned in format `dtype`."""
    own = coarser(case.dtype, dtype)

    def same_output(changed: Case) -> Float:
        return np.asarray(technique.evaluate(changed, dialect)[output], dtype=np.float64)

    condition = _condition(technique, case, same_output)
    further = technique.further_practical_errors.get(technique.outputs[output].name)
    practical = technique.practical_error if output == 0 else further
    bounds = _bounds(case, expected, condition, dtype, own, practical)
    if technique.summands is None or output > 0:
        return bounds
    terms, magnitude = technique.summands(case)
    return bounds + sum_bounds(case, own, terms, magnitude)


def gradient_bounds(
    technique: Technique,
    argument: str,
    case: Case,
    expected: Float,
    dtype: str,
    dialect: Dialect | None,
    *,
    value_dtype: str,
) -> Bounds:
    """Bounds for the gradient with respect to an argument, returned in format `dtype`.

    `value_dtype` is the format of the value: autograd gives gradients in the format of the input, also where the
    candidate computes in a coarser one.
    """
    own = coarser(case.dtype, value_dtype)

    def gradient(changed: Case) -> Float:
        return technique.evaluate_gradient(argument, changed, dialect)

    condition = _condition(technique, case, gradient)
    bounds = _bounds(case, expected, condition, dtype, own, technique.practical_gradient_error)
    if technique.gradient_summands is None:
        return bounds
    terms, magnitude = technique.gradient_summands(argument, case)
    return bounds + sum_bounds(case, own, terms, magnitude)


def plain_bounds(case: Case, expected: Float, dtype: str) -> Bounds:
    """Bounds for a value of which nothing is known but its size."""
    return _bounds(case, expected, np.zeros(expected.shape), dtype, coarser(case.dtype, dtype), None)


def coarser(one: str, other: str) -> str:
    """The format with the larger roundoff."""
    return one if PRECISIONS[one].unit_roundoff >= PRECISIONS[other].unit_roundoff else other


def sum_bounds(case: Case, own: str, terms: int, magnitude: Array) -> Bounds:
    """What the summation of `terms` terms with the given sum of absolute values may add."""
    u = computing_precision(case.dtype).unit_roundoff
    strict = u * (SUM_ROUNDOFFS + np.log2(max(terms, 2))) * magnitude
    loose = PRECISIONS[own].unit_roundoff * (SUM_ROUNDOFFS + RANDOM_WALK * np.sqrt(terms))
    return Bounds(strict, np.maximum(strict, loose * magnitude))


def compare(actual: Array, expected: Array, bounds: Bounds | None, dtype: str = "float64") -> Comparison:
    """Judge an array of the right shape. Without bounds every element must be equal."""
    if bounds is None:
        wrong = np.asarray(actual != expected)
        return _comparison(wrong, np.zeros(wrong.shape), wrong.astype(np.float64), actual, expected, wrong * 0.0)

    actual = np.asarray(actual, dtype=np.float64)
    expected = np.asarray(expected, dtype=np.float64)
    largest = PRECISIONS[dtype].largest
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(actual - expected)
        special = ~(np.isfinite(actual) & np.isfinite(expected))
        agrees = (np.isnan(actual) & np.isnan(expected)) | (
            # rounding to the format sends a value near its end, and what the bound allows around it, to infinity
            (np.isinf(actual) & (np.sign(actual) == np.sign(expected)))
            & (np.abs(expected) + bounds.loose >= largest * (1 - PRECISIONS[dtype].unit_roundoff))
        )
        agrees |= np.isinf(expected) & (actual == np.sign(expected) * largest)
        distance = np.where(special, np.where(agrees, 0.0, np.inf), distance)
        used = np.where(distance == 0.0, 0.0, distance / bounds.strict)
    return _comparison(distance > bounds.loose, used, used, actual, expected, bounds.loose)


def nearest_admissible(values: Array, low: Array, high: Array) -> Array:
    """The number of an interval nearest to each value; a NaN, which is never admissible, goes with the lowest."""
    return np.where(np.isnan(values), low, np.clip(values, low, high))


def _comparison(
    wrong: Array, used: Array, badness: Array, actual: Array, expected: Array, allowed: Array
) -> Comparison:
    if wrong.size == 0:
        return Comparison("pass", 0.0, 0, 0)
    worst = int(np.argmax(np.where(wrong, np.inf, 0.0) + np.nan_to_num(badness, posinf=1e300)))
    index = tuple(int(i) for i in np.unravel_index(worst, wrong.shape))
    highest = float(used.max())
    status = "fail" if wrong.any() else ("warn" if highest > 1.0 else "pass")
    return Comparison(
        status, highest, int(wrong.sum()), wrong.size, index,
        float(actual[index]), float(expected[index]), float(allowed[index]),
    )  # fmt: skip


def _bounds(
    case: Case,
    expected: Float,
    condition: Float,
    dtype: str,
    own: str,
    practical: Callable[[Case, float], Array] | None,
) -> Bounds:
    answer = PRECISIONS[dtype]
    strict = _bound(computing_precision(case.dtype), answer, expected, condition)
    loose = _bound(PRECISIONS[own], answer, expected, condition)
    if practical is not None:
        loose = loose + np.abs(practical(case, PRECISIONS[own].unit_roundoff))
    return Bounds(strict, np.maximum(strict, loose))


def _bound(computing: Precision, answer: Precision, expected: Float, condition: Float) -> Float:
    u = computing.unit_roundoff
    size = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    tiny = max(computing.smallest_normal, answer.smallest_normal, FLOAT64.smallest_normal)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = (OUTPUT_ROUNDOFFS * u + answer.unit_roundoff) * size + INPUT_ROUNDOFFS * u * condition + tiny
    return np.nan_to_num(bound, nan=tiny, posinf=FLOAT64.largest)


def _condition(technique: Technique, case: Case, evaluate: Callable[[Case], Float]) -> Float:
    """Largest change of the result, over sign patterns, when every float input changes by one part in 2^30."""
    floats = [one for one in technique.arguments if one.dtype == "float" and one.name in case.arguments]
    shape_key = repr([case.arguments[argument.name].shape for argument in floats]).encode()
    random = np.random.default_rng(zlib.crc32(shape_key))
    at_case = evaluate(case)
    largest = np.zeros(at_case.shape)
    for pattern in range(_SIGN_PATTERNS):
        changed = dict(case.arguments)
        for argument in floats:
            values = case.arguments[argument.name]
            # first all up, then all down, then signs that let the terms of a sum move apart
            sign = random.choice([-1.0, 1.0], values.shape) if pattern >= 2 else 1.0 - 2.0 * pattern
            with np.errstate(over="ignore"):
                moved = values * (1.0 + sign * _STEP)
            moved = np.where(np.isfinite(values) & ~np.isfinite(moved), values, moved)
            changed[argument.name] = moved if argument.domain is None else argument.domain(moved, case)
        result = evaluate(replace(case, arguments=changed))
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(result - at_case) / _STEP
        largest = np.maximum(largest, np.nan_to_num(change, nan=0.0, posinf=FLOAT64.largest))
    return largest
