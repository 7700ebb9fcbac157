"""What a technique demands of an implementation, as data.

A contract names the technique's function, its arguments, options and outputs, the oracle that defines it, and
the requirements that an implementation must meet. Each requirement says in one sentence what must hold, at
which level, from which source, and names the check and the generator of inputs that decide it. Mutants are
known wrong implementations: they prove that the checks can fail, and they explain failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from steelyard.conformance.checking import Bench
    from steelyard.conformance.generation import Draw

Array = NDArray[Any]
OptionValue = None | bool | int | float | str
DType = Literal["float", "int", "bool"]


class Level(StrEnum):
    """How binding a requirement is, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Kind(StrEnum):
    """What sort of claim a requirement makes. The list is the same for every technique, so that a gap shows."""

    VALUE = "value"
    GRADIENT = "gradient"
    DETACHED = "detached factors"
    REDUCES_TO = "reduces to"
    LIMIT = "limit"
    INVARIANCE = "invariance"
    CONSERVATION = "conservation"
    BOUND = "bound"
    TIES = "ties and thresholds"
    EMPTY = "empty and degenerate"
    EXTREME = "extreme and low precision"
    BATCH = "batch = per image"
    DISTRIBUTION = "distribution"
    ERROR = "error on bad input"
    PURITY = "purity and determinism"


@dataclass(frozen=True)
class Argument:
    """An array that the function takes, in order."""

    name: str
    shape: tuple[str, ...]
    """Symbols such as ("B", "N", "C"); "..." stands for any number of axes."""
    dtype: DType
    doc: str
    differentiable: bool = False
    domain: Callable[[Array, Case], Array] | None = None
    """Brings values that were moved a little back to where the function is defined; None: defined everywhere."""
    is_key: bool = False
    """Uniform random numbers. A candidate that draws its own may lack it; it is then judged by distribution."""
    optional: bool = False
    """Sent by the requirements that need it alone; a candidate may lack it."""


@dataclass(frozen=True)
class Option:
    """A keyword that the function takes."""

    name: str
    default: OptionValue
    doc: str


@dataclass(frozen=True)
class Output:
    """An array that the function returns."""

    name: str
    shape: tuple[str, ...]
    dtype: DType
    doc: str
    unordered: bool = False
    """Whether the order along the last axis carries no meaning (a set of indices)."""


@dataclass(frozen=True)
class Case:
    """One input: arrays, options, the working precision, and the gradient that arrives from above."""

    arguments: Mapping[str, Array]
    """Float arrays are float64 with values representable in `dtype`; integers are int64."""
    options: Mapping[str, OptionValue]
    dtype: str = "float64"
    cotangent: Array | None = None
    """Shape of the first output; None means ones."""
    origin: str = "drawn"

    def with_options(self, **options: OptionValue) -> Case:
        """The same arrays with some options changed."""
        return replace(self, options={**self.options, **options})

    def with_arguments(self, **arguments: Array) -> Case:
        """The same options with some arrays changed. The cotangent is dropped: its shape may no longer fit."""
        return replace(self, arguments={**self.arguments, **arguments}, cotangent=None)


Check = Callable[["Bench", Case], None]
"""Judges one case; raises `Deviation` where the candidate deviates."""

Generator = Callable[["Draw"], Case]
"""Draws one case."""

PracticalError = Callable[[Case, float], Array]
"""Further error, for each element, of the formulas found in practice, in a format of given unit roundoff."""


@dataclass(frozen=True)
class Requirement:
    """One claim about an implementation."""

    id: str
    level: Level
    kind: Kind
    text: str
    source: str
    check: Check
    cases: Generator
    scenes: tuple[Callable[[int], Case], ...] = ()
    """Larger inputs, each made from a seed."""
    reaches: Mapping[str, Callable[[Case], bool]] = field(default_factory=dict)
    """Hard places that the generator must reach, by name; a test of the suite counts them."""
    needs_gradient: bool = False
    dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")
    """Working precisions that the generator may draw."""
    options: tuple[str, ...] = ()
    """Options without which the requirement has no meaning; a candidate that lacks one skips it."""
    needs_keys: bool = False
    """Whether it compares exactly what follows from the keys, so that a candidate without them skips it."""
    no_mutant: str = ""
    """Why no mutant is caught by this requirement alone, where none is."""
    examples: float = 1.0
    """Share of the profile's number of examples, for requirements that need fewer."""


@dataclass(frozen=True)
class Mutant:
    """A catalogued wrong implementation."""

    id: str
    summary: str
    """What it does wrong, as the end of the sentence "equals the oracle with ..."."""
    function: Callable[..., Any]
    """Called like the oracle, with arrays of the working dtype (float32 for bfloat16)."""
    gradient: Callable[..., Any] | None = None
    """Derivative with respect to the first differentiable argument; None where it adds nothing."""
    seen_in: str = ""
    """A public library or issue with this mistake."""
    draws_own_keys: bool = False
    """Whether it takes no keys and draws its own random numbers: only its distribution can be judged."""


@dataclass(frozen=True)
class Dialect:
    """A declared choice where the paper and practice differ: named settings of the oracle's options."""

    id: str
    summary: str
    options: Mapping[str, OptionValue]
    departs_from_paper: bool = True


@dataclass(frozen=True)
class Ruling:
    """A decision where paper and code disagree or the paper is silent."""

    id: str
    text: str


@dataclass(frozen=True)
class Technique:
    """The contract of one function."""

    id: str
    title: str
    family: str
    summary: str
    sources: tuple[str, ...]
    oracle: Callable[..., Any]
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    outputs: tuple[Output, ...]
    requirements: tuple[Requirement, ...]
    mutants: tuple[Mutant, ...]
    gradients: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Oracle's derivative of the sum of the first output, by argument."""
    gradient_interval: Callable[[str, Case], tuple[Array, Array]] | None = None
    """Lowest and highest admissible gradient by an argument, upstream gradient included: apart at kinks only."""
    practical_error: PracticalError | None = None
    practical_gradient_error: PracticalError | None = None
    further_practical_errors: Mapping[str, PracticalError] = field(default_factory=dict)
    """Those of outputs beside the first, by name."""
    summands: Callable[[Case], tuple[int, Array]] | None = None
    """For sums: number of terms, and the sum of their absolute values for each element of the first output."""
    gradient_summands: Callable[[str, Case], tuple[int, Array]] | None = None
    """The same for each element of the gradient by an argument, upstream gradient included."""
    dialects: tuple[Dialect, ...] = ()
    rulings: tuple[Ruling, ...] = ()
    not_applicable: Mapping[Kind, str] = field(default_factory=dict)
    """Why a kind has no requirement here."""

    def evaluate(self, case: Case, dialect: Dialect | None = None) -> tuple[Array, ...]:
        """The oracle's answer, one array an output."""
        return as_outputs(self.oracle(**case.arguments, **_options(case, dialect)))

    def evaluate_gradient(self, argument: str, case: Case, dialect: Dialect | None = None) -> Array:
        """The oracle's gradient with the case's cotangent, shape of the argument."""
        derivative = np.asarray(self.gradients[argument](**case.arguments, **_options(case, dialect)))
        return apply_cotangent(derivative, case.cotangent)

    @property
    def dialect_options(self) -> frozenset[str]:
        """Options that a dialect sets; a candidate need not take them."""
        return frozenset(name for dialect in self.dialects for name in dialect.options)

    def requirement(self, requirement_id: str) -> Requirement:
        """The requirement of this id."""
        for requirement in self.requirements:
            if requirement.id == requirement_id:
                return requirement
        raise KeyError(requirement_id)


def as_outputs(returned: Any) -> tuple[Array, ...]:  # noqa: ANN401
    """One array an output, whether a function returns one, a tuple of several, or tuples within a tuple."""
    if isinstance(returned, tuple):
        return tuple(output for part in returned for output in as_outputs(part))
    return (np.asarray(returned),)


def apply_cotangent(derivative: Array, cotangent: Array | None) -> Array:
    """Derivative times upstream gradient; the axes that the output lacks are the derivative's last ones."""
    if cotangent is None:
        return derivative
    spread = np.reshape(cotangent, cotangent.shape + (1,) * (derivative.ndim - cotangent.ndim))
    return np.asarray(derivative * spread)


def defaults(options: Sequence[Option]) -> dict[str, OptionValue]:
    """Each option at its default."""
    return {option.name: option.default for option in options}


def _options(case: Case, dialect: Dialect | None) -> dict[str, OptionValue]:
    return dict(case.options) if dialect is None else {**case.options, **dialect.options}
