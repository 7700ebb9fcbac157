"""The checks that requirements name: each judges a candidate on one case.

A check is a function of a bench and a case. It asks the bench for the candidate's answer and for a comparison;
the bench counts comparisons, keeps the share of the bound used, and raises `Deviation` where the candidate is
outside. The checks here serve every technique; a technique's own laws stand in its contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steelyard.conformance.candidates import (
    PLAIN_PYTHON,
    Answer,
    Candidate,
    CandidateError,
    NoGradientError,
    Signature,
)
from steelyard.conformance.contract import Array, Case, Check, Dialect, OptionValue, Technique
from steelyard.conformance.judging import (
    Bounds,
    Comparison,
    compare,
    gradient_bounds,
    nearest_admissible,
    plain_bounds,
    value_bounds,
)
from steelyard.conformance.statistics import Frequencies, Suspicion, suspect


@dataclass(frozen=True)
class Evidence:
    """What a deviation looks like at its worst element, for people and for a case file."""

    what: str
    actual: Array
    expected: Array
    allowed: Array


class Deviation(Exception):  # noqa: N818 - the word for what a candidate does
    """The candidate is outside the specification on this case."""

    def __init__(self, message: str, case: Case, evidence: Evidence | None = None) -> None:
        super().__init__(message)
        self.case = case
        self.evidence = evidence


class DistributionDeviation(Deviation):
    """The candidate's random choices have another distribution; its frequencies are counted when they are asked for."""

    def __init__(self, message: str, case: Case, frequencies: Callable[[], Frequencies | None]) -> None:
        super().__init__(message, case)
        self.frequencies = frequencies


class NotOfferedError(BaseException):
    """The candidate lacks what the requirement needs. Not an `Exception`: there is nothing to shrink."""


class Bench:
    """A candidate on the balance: evaluates, compares and keeps count."""

    def __init__(self, technique: Technique, candidate: Candidate, dialect: Dialect | None = None) -> None:
        self.technique = technique
        self.dialect = dialect
        self.checks = 0
        self.bound_used = 0.0
        self.warning = ""
        self._candidate = candidate
        self._last: tuple[Case, tuple[Array, ...]] | None = None

    @property
    def signature(self) -> Signature:
        """How the candidate's function can be called."""
        return self._candidate.description.functions[self.technique.id]

    def evaluate(self, case: Case, gradient_of: Sequence[str] = ()) -> Answer:
        """The candidate's answer; outputs of another number or shape than the oracle's are a deviation."""
        answer = self.attempt(case, gradient_of)
        contract, expected = self.technique.outputs, self.oracle(case)
        self.expect(
            len(answer.outputs) == len(contract),
            f"returned {len(answer.outputs)} outputs, expected {len(contract)} ({', '.join(o.name for o in contract)})",
            case,
        )
        if PLAIN_PYTHON in answer.dtypes:
            pairs = zip(answer.outputs, answer.dtypes, expected, strict=True)
            fitted = tuple(
                right if dtype == PLAIN_PYTHON and a.size == right.size == 0 else a for a, dtype, right in pairs
            )
            answer = replace(answer, outputs=fitted)
        for output, actual, right in zip(contract, answer.outputs, expected, strict=True):
            hint = self._shape_hint(actual, right)
            self.expect(
                actual.shape == right.shape,
                f"{output.name}: returned shape {actual.shape}, expected {right.shape}; {hint}",
                case,
            )
        return answer

    def _shape_hint(self, actual: Array, expected: Array) -> str:
        if actual.ndim == 0 and expected.ndim > 0:
            return "the specification wants every element; does yours take --set reduction=none?"
        return f"`steelyard show {self.technique.id}` says what is returned"

    def attempt(self, case: Case, gradient_of: Sequence[str] = ()) -> Answer:
        """The candidate's answer, whatever it is, also to a case outside the specification."""
        self._refuse_lost_options(case)
        try:
            return self._candidate.evaluate(self.technique.id, case, gradient_of)
        except NoGradientError as error:
            if not self._candidate.differentiates:
                raise NotOfferedError(str(error)) from error
            return self._without_graph(case, gradient_of, error)

    def _refuse_lost_options(self, case: Case) -> None:
        """A law may set options that the candidate lacks; then it cannot be asked."""
        if self.signature.problem:
            return
        lacking = {name for name in case.options if name not in self.signature.options} - self.technique.dialect_options
        for option in self.technique.options:
            if option.name in lacking and case.options[option.name] != option.default:
                raise NotOfferedError(f"the candidate takes no option {option.name}")

    def _without_graph(self, case: Case, gradient_of: Sequence[str], error: NoGradientError) -> Answer:
        """An answer that autograd takes for a constant: right only where the gradient is 0."""
        for name in gradient_of:
            if self.technique.evaluate_gradient(name, case, self.dialect).any():
                raise Deviation(f"gradient of {name}: {error}", case)
        zeros = {name: np.zeros(case.arguments[name].shape) for name in gradient_of}
        answer = self._candidate.evaluate(self.technique.id, case)
        return replace(answer, gradients=zeros, gradient_dtypes=dict.fromkeys(zeros, case.dtype))

    def oracle(self, case: Case) -> tuple[Array, ...]:
        """The oracle's outputs in the candidate's dialect. The last case's are kept: checks ask more than once."""
        if self._last is None or self._last[0] is not case:
            self._last = (case, self.technique.evaluate(case, self.dialect))
        return self._last[1]

    def bounds(self, case: Case, dtype: str, output: int = 0) -> Bounds | None:
        """Allowed distances of an output from the oracle's; None where it must be equal."""
        if self.technique.outputs[output].dtype != "float":
            return None
        expected = np.asarray(self.oracle(case)[output], dtype=np.float64)
        return value_bounds(self.technique, case, expected, dtype, self.dialect, output)

    def gradient_bounds(self, case: Case, argument: str, expected: Array, dtype: str, value_dtype: str) -> Bounds:
        """Allowed distances of a gradient in format `dtype` from the expected one."""
        return gradient_bounds(
            self.technique, argument, case, expected, dtype, self.dialect, value_dtype=value_dtype
        )  # fmt: skip

    def expect(self, condition: bool, message: str, case: Case) -> None:  # noqa: FBT001
        """One check of a plain fact."""
        self.checks += 1
        if not condition:
            raise Deviation(message, case)

    def expect_outputs(self, case: Case, answer: Answer, expected: Sequence[Array]) -> None:
        """Each output is within its bound of what is expected."""
        contract = self.technique.outputs
        for number, (output, actual) in enumerate(zip(contract, answer.outputs, strict=True)):
            dtype = float_format(answer.dtypes[number], case)
            bounds = self.bounds(case, dtype, number)
            what = "value" if len(contract) == 1 else output.name
            wanted = np.asarray(expected[number])
            if output.unordered:
                actual, wanted = np.sort(actual, axis=-1), np.sort(wanted, axis=-1)  # noqa: PLW2901
            self.expect_close(case, actual, wanted, bounds, dtype, what)

    def expect_close(
        self, case: Case, actual: Array, expected: Array, bounds: Bounds | None, dtype: str, what: str
    ) -> None:
        """An array of the expected shape, within the bounds (equal, if there are none)."""
        self.expect(
            actual.shape == expected.shape,
            f"{what}: shape {actual.shape}, expected {expected.shape}",
            case,
        )
        self.checks += 1
        comparison = compare(actual, expected, bounds, dtype)
        if comparison.status == "fail":
            allowed = np.zeros(expected.shape) if bounds is None else bounds.loose
            raise Deviation(comparison_report(case, comparison, what), case, Evidence(what, actual, expected, allowed))
        if comparison.bound_used > self.bound_used:
            self.bound_used = comparison.bound_used
            if comparison.status == "warn":
                self.warning = comparison_report(case, comparison, what)

    def expect_distribution(self, case: Case, test: Callable[[int], Suspicion], seed: int) -> None:
        """Random choices have the right distribution; a bad p-value counts only if a fresh seed confirms it."""
        self.checks += 1
        suspicion = suspect(test, seed)
        if suspicion is not None:
            raise DistributionDeviation(
                f"distribution: p-value {suspicion.p_value:.1g}, confirmed: {suspicion.sentence}",
                case,
                lambda: suspicion.frequencies,
            )


# --- checks for every technique -----------------------------------------------------------------------------


def value(bench: Bench, case: Case) -> None:
    """The outputs are the oracle's."""
    bench.expect_outputs(case, bench.evaluate(case), bench.oracle(case))


@dataclass(frozen=True)
class GradientCheck:
    """The gradient with respect to an argument is the oracle's analytic one, times the upstream gradient."""

    argument: str

    def __call__(self, bench: Bench, case: Case) -> None:
        """Judge one case."""
        argument = self.argument
        answer = bench.evaluate(case, (argument,))
        expected = bench.technique.evaluate_gradient(argument, case, bench.dialect)
        if bench.technique.gradient_interval is not None:
            interval = bench.technique.gradient_interval(argument, case)
            expected = nearest_admissible(answer.gradients[argument], *interval)
        dtype = float_format(answer.gradient_dtypes[argument], case)
        bounds = bench.gradient_bounds(case, argument, expected, dtype, float_format(answer.dtypes[0], case))
        bench.expect_close(case, answer.gradients[argument], expected, bounds, dtype, f"gradient of {argument}")


def gradient(argument: str) -> Check:
    """Judge the gradient with respect to an argument."""
    return GradientCheck(argument)


def leaving_out(*names: str, judged_by: Check = value, **options: OptionValue) -> Check:
    """With these options, a call without these arguments gives what the specification says they are then."""

    def check(bench: Bench, case: Case) -> None:
        if lacking := sorted(set(names) - bench.signature.optional):
            raise NotOfferedError(f"the candidate always wants {lacking[0]}")
        arguments = {name: values for name, values in case.arguments.items() if name not in names}
        judged_by(bench, replace(case.with_options(**options), arguments=arguments, cotangent=None))

    return check


def sending(*names: str, judged_by: Check = value) -> Check:
    """The same as `judged_by`, of candidates that take these optional arguments."""

    def check(bench: Bench, case: Case) -> None:
        if lacking := sorted(set(names) - bench.signature.optional):
            raise NotOfferedError(f"the candidate takes no {lacking[0]}")
        judged_by(bench, case)

    return check


def reduces_to(simpler: Callable[[Case], Array], **options: OptionValue) -> Check:
    """With these options the first output is what a simpler technique gives."""

    def check(bench: Bench, case: Case) -> None:
        special = case.with_options(**options)
        answer = bench.evaluate(special)
        dtype = float_format(answer.dtypes[0], case)
        bounds = bench.bounds(special, dtype)
        bench.expect_close(special, answer.outputs[0], simpler(special), bounds, dtype, "value")

    return check


def same_as(transform: Callable[[Case], Case], what: str, undo: Callable[[Array, Case], Array] | None = None) -> Check:
    """The answer to a transformed case is the answer to the case (after `undo`): invariances and symmetries."""

    def check(bench: Bench, case: Case) -> None:
        other = transform(case)
        answer, transformed = bench.evaluate(case), bench.evaluate(other)
        for number in range(len(bench.technique.outputs)):
            actual = transformed.outputs[number] if undo is None else undo(transformed.outputs[number], case)
            dtype = float_format(answer.dtypes[number], case)
            here, there = bench.bounds(case, dtype, number), bench.bounds(other, dtype, number)
            bounds = None
            if here is not None and there is not None:
                moved = there if undo is None else Bounds(undo(there.strict, case), undo(there.loose, case))
                bounds = here + moved
            bench.expect_close(case, actual, answer.outputs[number], bounds, dtype, what)

    return check


def permutation(bench: Bench, case: Case) -> None:
    """Reversing the first axis of every argument reverses the outputs, to the last bit or within the bound."""
    flip = replace(
        case, arguments={name: values[::-1].copy() for name, values in case.arguments.items()}, cotangent=None
    )
    same_as(lambda _: flip, "value after reversing the first axis", lambda output, _: output[::-1])(bench, case)


def batch_equals_per_image(bench: Bench, case: Case) -> None:
    """The whole batch gives what its images give one by one."""
    whole = bench.evaluate(case)
    images = len(next(iter(case.arguments.values())))
    parts = [
        bench.evaluate(
            replace(case, arguments={n: values[b : b + 1] for n, values in case.arguments.items()}, cotangent=None)
        )
        for b in range(images)
    ]
    for number in range(len(bench.technique.outputs)):
        dtype = float_format(whole.dtypes[number], case)
        joined = np.concatenate([part.outputs[number] for part in parts])
        bench.expect_close(
            case, whole.outputs[number], joined, bench.bounds(case, dtype, number), dtype, "batch against its images"
        )


def any_axes_of_images(bench: Bench, case: Case) -> None:
    """The first image without an axis of images, and all of them along two, give what the oracle gives."""
    lay_outs: tuple[Callable[[Array], Array], ...] = (lambda values: values[0], lambda values: values[np.newaxis])
    for lay_out in lay_outs:
        arguments = {name: lay_out(values).copy() for name, values in case.arguments.items()}
        value(bench, replace(case, arguments=arguments, cotangent=None))


def padding(axis: int, **fill: float) -> Check:
    """Three entries of padding, with these values, at the end of an axis leave the others' outputs as they are.

    Outputs that have the axis are compared without the padding; outputs that lack it, as they are.
    """

    def check(bench: Bench, case: Case) -> None:
        length = case.arguments[next(iter(fill))].shape[axis]
        longer = {
            name: np.concatenate([case.arguments[name], _filled(case.arguments[name], axis, value)], axis=axis)
            for name, value in fill.items()
        }
        padded = bench.evaluate(case.with_arguments(**longer))
        alone = bench.evaluate(case)
        for number, output in enumerate(alone.outputs):
            actual = padded.outputs[number]
            if actual.shape != output.shape:
                actual = np.take(actual, range(length), axis=axis)
            dtype = float_format(alone.dtypes[number], case)
            bounds = bench.bounds(case, dtype, number)
            double = None if bounds is None else bounds + bounds
            bench.expect_close(case, actual, output, double, dtype, "value with padding")

    return check


def purity(bench: Bench, case: Case) -> None:
    """The call writes to none of its inputs, and the same call twice gives the same bits."""
    first = bench.evaluate(case)
    bench.expect(not first.changed, f"wrote to its input {', '.join(first.changed)}", case)
    second = bench.evaluate(case)
    for one, two in zip(first.outputs, second.outputs, strict=True):
        bench.expect(
            np.array_equal(one, two, equal_nan=one.dtype.kind == "f"), "two equal calls gave two answers", case
        )


@dataclass(frozen=True)
class BadInput:
    """An input outside the specification, and the options that it needs to mean anything."""

    name: str
    spoil: Callable[[Case], Case]
    option: str | None = None


def bad_option(name: str, value: Any) -> BadInput:  # noqa: ANN401
    """An option at a value outside its range."""
    return BadInput(f"{name} = {value}", lambda case: case.with_options(**{name: value}), name)


def bad_shape(argument: str) -> BadInput:
    """An argument with one element more along its first axis than the others."""

    def spoil(case: Case) -> Case:
        values = case.arguments[argument]
        return case.with_arguments(**{argument: np.concatenate([values, values[:1]])})

    return BadInput(f"{argument} longer than the other arguments", spoil)


def without_axes(*arguments: str) -> BadInput:
    """Single numbers where arrays with axes belong."""

    def spoil(case: Case) -> Case:
        return case.with_arguments(**{name: np.zeros((), case.arguments[name].dtype) for name in arguments})

    return BadInput(f"{' and '.join(arguments)} without axes", spoil)


def refuses(*bad_inputs: BadInput) -> Check:
    """Each bad input raises an error instead of giving an answer."""

    def check(bench: Bench, case: Case) -> None:
        for bad in bad_inputs:
            if bad.option is not None and bad.option not in bench.signature.options:
                continue
            spoilt = bad.spoil(case)
            try:
                answer = bench.attempt(spoilt)
            except CandidateError:
                bench.expect(condition=True, message="", case=spoilt)
            else:
                shown = np.array2string(answer.outputs[0].ravel()[:3], precision=6) if answer.outputs else "nothing"
                bench.expect(False, f"{bad.name}: expected an error, got the answer {shown}", spoilt)

    return check


# --- cases: helpers ------------------------------------------------------------------------------------------


def restricted(case: Case, signature: Signature, technique: Technique) -> Case:
    """The case with the options that the candidate lacks at the specification's defaults."""
    lacking: Mapping[str, OptionValue] = {
        option.name: option.default
        for option in technique.options
        if option.name not in signature.options and option.name in case.options
    }
    return case.with_options(**lacking) if lacking else case


def comparison_report(case: Case, worst: Comparison, what: str) -> str:
    """What a comparison found: how many elements, the worst one, and the inputs behind it."""
    where = f" at [{', '.join(map(str, worst.index))}]" if worst.index else ""
    distance = abs(worst.actual - worst.expected)
    outside = f"{worst.wrong} of {worst.size} elements outside the bound" if worst.wrong else (
        f"accuracy is poor: {worst.bound_used:.3g} x the strict bound, within the loose one")  # fmt: skip
    return (
        f"{what}: {outside}\n"
        f"  worst{where}: got {worst.actual:.9g}, expected {worst.expected:.9g}, "
        f"off by {distance:.2g}, allowed {worst.allowed:.2g}\n"
        f"  inputs there: {_inputs(case, worst.index)}"
    )


def plain(bench: Bench, case: Case, actual: Array, expected: Array, what: str) -> None:
    """Compare with a value of which nothing is known but its size."""
    bench.expect_close(case, actual, expected, plain_bounds(case, expected, case.dtype), case.dtype, what)


def _inputs(case: Case, index: tuple[int, ...]) -> str:
    values = []
    for name, array in case.arguments.items():
        at = index[: array.ndim]
        # an argument that is not laid out like the output is shown whole if it is small
        fits = len(at) == array.ndim and all(i < n for i, n in zip(at, array.shape, strict=True))
        if fits:
            values.append(f"{name} {_number(array[at])}")
        elif array.size <= 12:
            values.append(f"{name} {np.array2string(array, precision=6, separator=', ').replace(chr(10), '')}")
        else:
            values.append(f"{name} of shape {array.shape}")
    options = [f"{name} {value}" for name, value in case.options.items()]
    return ", ".join([*values, *options, case.dtype])


def _filled(values: Array, axis: int, value: float) -> Array:
    shape = list(values.shape)
    shape[axis] = 3
    return np.full(shape, value, dtype=values.dtype)


def float_format(dtype: str, case: Case) -> str:
    """Format of an answer: floats as they came; lists and Python numbers count as the case's own."""
    return dtype if dtype in ("float64", "float32", "float16", "bfloat16") else case.dtype


def _number(value: Any) -> str:  # noqa: ANN401
    return f"{value:.9g}" if isinstance(value, float | np.floating) else str(value)
