"""What the suite needs of a candidate: a description, and answers to cases.

Three classes have this interface: a candidate in its own process (`isolation`), a program that speaks JSON
lines, and functions of the suite's own (`OwnFunctions`: the oracle and its mutants).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from steelyard.conformance.contract import Array, Case, OptionValue, apply_cotangent, as_outputs

PLAIN_PYTHON = "Python numbers"
"""Format of an answer that is a list or a number: it has no dtype, and an empty list no shape."""


class LoadError(Exception):
    """The target cannot be loaded; the message is one line that says why and what to do."""


class CandidateError(Exception):
    """The candidate raised an exception; the message has its type, text and place."""


class NoGradientError(Exception):
    """The candidate offers no way to take this gradient."""


class CandidateLost(BaseException):
    """The candidate's process hung, died or flooded its output.

    Not an `Exception`: Hypothesis would take it for a failing example and repeat the hang while it shrinks.
    """


@dataclass(frozen=True)
class Signature:
    """How the candidate's function for one technique can be called."""

    options: frozenset[str]
    """Names of the specification's options that it takes."""
    has_gradient: bool
    takes_keys: bool = True
    """Whether random choices follow from the keys that the suite sends."""
    text: str = ""
    """As written in the candidate, for messages."""
    problem: str = ""
    """Why it cannot be called as the specification does; empty if it can."""
    optional: frozenset[str] = frozenset()
    """Names of the specification's arguments that a call may leave out."""


@dataclass(frozen=True)
class Description:
    """What a candidate says of itself."""

    name: str
    version: str
    arrays: str
    dtypes: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)
    functions: Mapping[str, Signature] = field(default_factory=dict)
    """By technique id."""
    dialects: Mapping[str, str] = field(default_factory=dict)
    """Declared dialect, by technique id."""
    known: tuple[Mapping[str, str], ...] = ()
    """Known failures that the adapter itself declares."""


@dataclass(frozen=True)
class Answer:
    """What came back for one case, as NumPy arrays (floats as float64) with the formats they had."""

    outputs: tuple[Array, ...]
    dtypes: tuple[str, ...]
    gradients: Mapping[str, Array] = field(default_factory=dict)
    gradient_dtypes: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    """Arguments whose memory the call wrote to."""


class Candidate(Protocol):
    """An implementation under test."""

    @property
    def description(self) -> Description:
        """What the candidate says of itself."""

    @property
    def differentiates(self) -> bool:
        """Whether gradients come from the candidate's framework, not from functions of its own."""

    def evaluate(self, technique: str, case: Case, gradient_of: Sequence[str] = ()) -> Answer:
        """Call the function of a technique; raises `CandidateError`, `NoGradientError` or `CandidateLost`."""

    def tampering(self) -> str:
        """What the candidate has changed outside itself since the last question; empty if nothing."""

    def close(self) -> None:
        """Let go of processes and files."""


class OwnFunctions:
    """Functions in the suite's own process, called with arrays of the working dtype: the oracle or a mutant."""

    def __init__(
        self,
        name: str,
        technique: str,
        function: Callable[..., Any],
        options: frozenset[str],
        gradients: Mapping[str, Callable[..., Any]],
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._function = function
        self._without = without  # keys that it does not take
        self._gradients = gradients
        self.differentiates = False
        signature = Signature(
            options, has_gradient=bool(gradients), takes_keys=not without, optional=with_defaults(function)
        )
        self.description = Description(
            name, "", "numpy", ("float32", "float64", "float16", "bfloat16"), functions={technique: signature}
        )

    def evaluate(self, technique: str, case: Case, gradient_of: Sequence[str] = ()) -> Answer:  # noqa: ARG002
        """Call the function on copies."""
        arguments = {
            name: working_array(values, case.dtype)
            for name, values in case.arguments.items()
            if name not in self._without
        }
        kept = {name: values.copy() for name, values in arguments.items()}
        try:
            with quiet():
                outputs = as_outputs(self._function(**arguments, **case.options))
                gradients = {
                    name: apply_cotangent(np.asarray(self._gradient(name)(**arguments, **case.options)), case.cotangent)
                    for name in gradient_of
                }
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise CandidateError(f"raised {type(error).__name__}: {error}") from error
        changed = [name for name in arguments if not np.array_equal(arguments[name], kept[name], equal_nan=True)]
        return Answer(
            tuple(plain(output) for output in outputs),
            tuple(_format(output, case.dtype) for output in outputs),
            {name: plain(gradient) for name, gradient in gradients.items()},
            {name: _format(gradient, case.dtype) for name, gradient in gradients.items()},
            tuple(changed),
        )

    def _gradient(self, name: str) -> Callable[..., Any]:
        if name not in self._gradients:
            raise NoGradientError(f"no gradient with respect to {name}")
        return self._gradients[name]

    def tampering(self) -> str:
        """Nothing: these functions are the suite's own."""
        return ""

    def close(self) -> None:
        """Nothing to let go of."""


def with_defaults(function: Callable[..., Any]) -> frozenset[str]:
    """Parameters that a call may leave out; none where the function does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    return frozenset(parameter.name for parameter in parameters if parameter.default is not parameter.empty)


def working_array(values: Array, dtype: str) -> Array:
    """A fresh NumPy array of the working dtype; float32 stands in for bfloat16, which NumPy lacks."""
    if values.dtype.kind != "f":
        return values.copy()
    with np.errstate(over="ignore"):  # a mutant may be tried in a coarser format than the case's
        return values.astype(np.float32 if dtype == "bfloat16" else np.dtype(dtype))


def plain(values: Array) -> Array:
    """Floats as float64, integers as int64, masks as bool."""
    array = np.asarray(values)
    return array.astype({"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}.get(array.dtype.kind, object))


@contextmanager
def quiet() -> Iterator[None]:
    """No floating-point and other warnings: what counts is the answer, also where the caller turns them into errors."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def accepted_options(case: Case, signature: Signature) -> dict[str, OptionValue]:
    """The case's options that the candidate takes."""
    return {name: value for name, value in case.options.items() if name in signature.options}


def _format(values: Array, dtype: str) -> str:
    name = np.asarray(values).dtype.name
    return "bfloat16" if dtype == "bfloat16" and name == "float32" else name
