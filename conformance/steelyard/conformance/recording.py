"""The inputs of a technique's requirements drawn once, and the oracle asked once: to judge many candidates quickly.

The same inputs, checks and bounds as in a run; nothing is made small or explained. The kill matrix, the automatic
mutants and the suite's tests of itself judge hundreds of functions, and most of a run's time goes into drawing inputs
and into the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance.candidates import Candidate, CandidateError
from steelyard.conformance.checking import Bench, Deviation, NotOfferedError, restricted
from steelyard.conformance.contract import Array, Case, OptionValue, Requirement, Technique, as_outputs
from steelyard.conformance.generation import ALL_DTYPES
from steelyard.conformance.judging import Bounds
from steelyard.conformance.profiles import PROFILES
from steelyard.conformance.searching import feed


class Recording:
    """A technique's requirements with their inputs, for candidates that work in these dtypes."""

    def __init__(
        self, contract: Technique, *, profile: str = "default", seed: int = 0, dtypes: tuple[str, ...] = ALL_DTYPES
    ) -> None:
        self.contract = replace(
            contract,
            oracle=_Remembered(contract.oracle),
            gradients={name: _Remembered(function) for name, function in contract.gradients.items()},
        )
        self._profile = PROFILES[profile]
        self._seed = seed
        self._dtypes = dtypes
        self._cases: dict[str, list[Case]] = {}
        self._bounds: dict[Hashable, Any] = {}

    def cases(self, requirement: Requirement) -> list[Case]:
        """The inputs of a requirement, drawn at the first call."""
        if requirement.id not in self._cases:
            drawn: list[Case] = []
            dtypes = [name for name in requirement.dtypes if name in self._dtypes]
            if dtypes:
                feed(
                    drawn.append, requirement, technique=self.contract.id, profile=self._profile,
                    seed_of_run=self._seed, dtypes=dtypes,
                )  # fmt: skip
            self._cases[requirement.id] = drawn
        return self._cases[requirement.id]

    def failure(self, candidate: Candidate, requirement: Requirement) -> str:
        """The report of the first input on which the candidate deviates; empty if there is none."""
        signature = candidate.description.functions[self.contract.id]
        if requirement.needs_gradient and not (candidate.differentiates or signature.has_gradient):
            return ""
        if not signature.problem and not set(requirement.options) <= signature.options:
            return ""
        if requirement.needs_keys and not signature.takes_keys:
            return ""
        bench = _RememberingBench(self.contract, candidate, self._bounds)
        for case in self.cases(requirement):
            try:
                requirement.check(bench, restricted(case, bench.signature, self.contract))
            except (Deviation, CandidateError) as error:
                return str(error)
            except NotOfferedError:
                return ""
        return candidate.tampering()

    def failures(self, candidate: Candidate) -> Iterator[tuple[Requirement, str]]:
        """Requirements that the candidate does not meet, in order, each with its report."""
        for requirement in self.contract.requirements:
            if report := self.failure(candidate, requirement):
                yield requirement, report


class _RememberingBench(Bench):
    """A bench that derives the bounds of equal cases once."""

    def __init__(self, contract: Technique, candidate: Candidate, known: dict[Hashable, Any]) -> None:
        super().__init__(contract, candidate)
        self._known = known

    def bounds(self, case: Case, dtype: str, output: int = 0) -> Bounds | None:
        key = (_case_key(case), dtype, output)
        if key not in self._known:
            self._known[key] = super().bounds(case, dtype, output)
        return self._known[key]

    def gradient_bounds(self, case: Case, argument: str, expected: Array, dtype: str, value_dtype: str) -> Bounds:
        key = (_case_key(case), argument, _key(expected), dtype, value_dtype)
        if key not in self._known:
            self._known[key] = super().gradient_bounds(case, argument, expected, dtype, value_dtype)
        return self._known[key]


class _Remembered:
    """A function of arrays and options that is computed once for equal arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._known: dict[Hashable, Any] = {}
        self.__doc__ = function.__doc__

    def __call__(self, **keywords: Any) -> Any:  # noqa: ANN401
        key = _keys(keywords)
        if key not in self._known:
            self._known[key] = self._function(**keywords)
        known = self._known[key]
        # copies: a check may write to what it gets
        return tuple(map(np.copy, as_outputs(known))) if isinstance(known, tuple) else np.copy(known)


def _case_key(case: Case) -> Hashable:
    cotangent = None if case.cotangent is None else _key(case.cotangent)
    return (_keys(case.arguments), _keys(case.options), case.dtype, cotangent)


def _keys(values: Mapping[str, Any]) -> Hashable:
    return tuple((name, _key(value)) for name, value in values.items())


def _key(value: np.ndarray[Any, Any] | OptionValue) -> Hashable:
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    return (type(value), value)
