"""Inputs, laws, requirements and plain mistakes of functions that make one number of the counts of classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import BadInput, Bench, purity, refuses, same_as, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Check,
    Kind,
    Level,
    Mutant,
    Option,
    OptionValue,
    Requirement,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL

Function = Callable[..., Any]
NOTHING: Mapping[str, Sequence[OptionValue]] = {}
_SIZES = (10.0, 1.0, 2.0, 3.0, 5.0, 8.0, 100.0, 0.5, 0.25, 1000.0)
_LVIS_CLASSES = 1203

# --- inputs ---------------------------------------------------------------------------------------------------


class CountInputs:
    """Counts of classes, or weights of samples, under the name that a function gives them."""

    def __init__(self, name: str = "counts", options: Mapping[str, Sequence[OptionValue]] = NOTHING) -> None:
        self.name = name
        self._options = options

    def _case(self, draw: Draw, counts: Array, dtypes: tuple[str, ...] = FULL) -> Case:
        options = {name: draw.choice(choices) for name, choices in self._options.items()}
        dtype = draw.dtype(dtypes)
        return Case({self.name: round_to(dtype, counts)}, options, dtype)

    def present(self, draw: Draw) -> Case:
        """Up to six classes, all of which occur."""
        return self._case(draw, draw.array((draw.integer(1, 6),), lambda: draw.choice(_SIZES)))

    def absent(self, draw: Draw) -> Case:
        """Some classes do not occur."""
        counts = draw.array((draw.integer(2, 6),), lambda: draw.choice((0.0, 0.0, *_SIZES[:6])))
        counts[draw.integer(0, len(counts) - 1)] = draw.choice(_SIZES)
        counts[draw.integer(0, len(counts) - 1)] = 0.0
        return self._case(draw, counts if counts.any() else counts + np.eye(len(counts))[0])

    def equal(self, draw: Draw) -> Case:
        """Every class as often as any other."""
        return self._case(draw, np.full(draw.integer(2, 6), draw.choice(_SIZES)))

    def single(self, draw: Draw) -> Case:
        """One class."""
        return self._case(draw, np.array([draw.choice(_SIZES)]))

    def nothing(self, draw: Draw) -> Case:
        """No class occurs."""
        return self._case(draw, np.zeros(draw.integer(1, 4)))

    def of_a_data_set(self, draw: Draw) -> Case:
        """Candidates of 100,000 images: whole numbers beyond 32 bits, in float64."""
        counts = draw.array((draw.integer(2, 5),), lambda: draw.choice((2.0**33 + 1, 3.0, 2.0**31, 1e10, 2e6 + 1)))
        return self._case(draw, counts, ("float64",))

    def long_tail(self, seed: int) -> Case:
        """As many classes as LVIS has, from 50,000 instances to one, in the order of a list of frequencies."""
        random = np.random.default_rng(seed)
        counts = 1.0 + np.floor(random.uniform(40_000, 60_000) * np.arange(1, _LVIS_CLASSES + 1) ** -1.5)
        counts[-1] = 1.0
        options = {name: choices[0] for name, choices in self._options.items()}
        return Case({self.name: counts}, options, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def within(low: float, high: Callable[[Array], float]) -> Check:
    """The number lies between `low` and what `high` says of the counts, rounding aside."""

    def check(bench: Bench, case: Case) -> None:
        found = float(bench.evaluate(case).outputs[0])
        (counts,) = case.arguments.values()
        top = high(counts)
        message = f"expected a number in [{low:g}, {top:g}], got {found:.9g}"
        bench.expect(low - 1e-6 <= found <= top + 1e-5 * abs(top), message, case)

    return check


def transfer(sign: int) -> Check:
    """Half the difference of the most and the least frequent class moved: evener, so that the index goes `sign`."""

    def check(bench: Bench, case: Case) -> None:
        ((name, counts),) = case.arguments.items()
        evener = counts.copy()
        moved = (counts.max() - counts.min()) / 4.0
        evener[counts.argmax()] -= moved
        evener[counts.argmin()] += moved
        before = float(bench.evaluate(case).outputs[0])
        after = float(bench.evaluate(case.with_arguments(**{name: evener})).outputs[0])
        slack = 1e-5 * max(abs(before), 1.0)
        bench.expect(sign * (after - before) >= -slack, f"{before:.9g} before, {after:.9g} after evening out", case)

    return check


def reversed_order(case: Case) -> Case:
    """The classes in reverse."""
    return case.with_arguments(**{name: counts[::-1].copy() for name, counts in case.arguments.items()})


def twice(case: Case) -> Case:
    """Twice as many of each."""
    return case.with_arguments(**{name: 2.0 * counts for name, counts in case.arguments.items()})


# --- requirements ---------------------------------------------------------------------------------------------

IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
EVERYWHERE: Mapping[Kind, str] = {
    Kind.GRADIENT: "a census is not differentiated", Kind.DETACHED: "a census is not differentiated",
    Kind.CONSERVATION: "an index conserves nothing", Kind.TIES: "no threshold",
    Kind.BATCH: "one data set", Kind.DISTRIBUTION: "not random",
}  # fmt: skip


def count_argument(name: str = "counts", length: str = "C", doc: str = "candidates of each class, >= 0") -> Argument:
    """The counts as an argument."""
    return Argument(name, (length,), "float", doc)


PRESENT_ONLY = Option("present_only", default=False, doc="leave out classes that do not occur")
WITH_PRESENT_ONLY: Mapping[str, Sequence[OptionValue]] = {"present_only": (False, False, True)}


def index_requirements(
    prefix: str,
    inputs: CountInputs,
    definition: tuple[str, str],
    *,
    of_equal: str,
    of_absent: str,
    of_single: str,
    laws: tuple[Requirement, ...] = (),
    scale_free: bool = True,
) -> tuple[Requirement, ...]:
    """Numbered PREFIX-1 and on; the technique's own laws come last."""
    text, source = definition
    implied = IMPLIED.format(prefix)
    scaled = (
        Requirement("", Level.MUST, Kind.INVARIANCE, "Twice as many of each class change nothing.", source,
                    same_as(twice, "value of twice the counts"), inputs.present, dtypes=FULL, examples=0.3,
                    no_mutant=implied),
    ) if scale_free else ()  # fmt: skip
    common = (
        Requirement("", Level.MUST, Kind.VALUE, text, source, value, inputs.present, scenes=(inputs.long_tail,),
                    dtypes=FULL),
        Requirement("", Level.MUST, Kind.LIMIT, of_equal, source, value, inputs.equal, dtypes=FULL, examples=0.3,
                    no_mutant=implied),
        Requirement("", Level.MUST, Kind.EMPTY, of_absent, "ruling absent", value, inputs.absent, dtypes=FULL),
        Requirement("", Level.MUST, Kind.EMPTY, of_single, "ruling one-class", value, inputs.single, dtypes=FULL,
                    examples=0.1, no_mutant=implied),
        Requirement("", Level.MUST, Kind.EMPTY, "Where nothing was counted the answer is NaN.", "ruling nothing", value,
                    inputs.nothing, dtypes=FULL, examples=0.1),
        Requirement("", Level.MUST, Kind.EXTREME, "Counts beyond 32 bits are counts.", "ruling int64", value,
                    inputs.of_a_data_set, dtypes=("float64",), examples=0.3),
        Requirement("", Level.MUST, Kind.INVARIANCE, "The order of the classes means nothing.", source,
                    same_as(reversed_order, "value of the classes in reverse"), inputs.present, dtypes=FULL,
                    examples=0.3, no_mutant=implied),
        *scaled,
        Requirement("", Level.MUST, Kind.PURITY, "The counts are not written to, and equal calls agree.",
                    "house rule", purity, inputs.present, dtypes=FULL, examples=0.3),
        Requirement("", Level.SHOULD, Kind.ERROR, "No class at all is refused.", "house rule", refuses(
                    BadInput("no class", lambda c: c.with_arguments(**{inputs.name: np.zeros(0)}))),
                    inputs.present, dtypes=FULL, examples=0.1),
        *laws,
    )  # fmt: skip
    return tuple(replace(requirement, id=f"{prefix}-{n}") for n, requirement in enumerate(common, start=1))


def law(kind: Kind, text: str, check: Check, inputs: CountInputs, prefix: str) -> Requirement:
    """A law of the technique's own, on classes that all occur."""
    return Requirement("", Level.MUST, kind, text, "the definition", check, inputs.present, dtypes=FULL, examples=0.3,
                       no_mutant=IMPLIED.format(prefix))  # fmt: skip


# --- plain mistakes -------------------------------------------------------------------------------------------


def _with_counts(right: Function, name: str, change: Callable[[Array], Array]) -> Function:
    """The right function of wrong counts."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        right(**keywords)
        return right(**{**keywords, name: change(np.asarray(keywords[name]))})

    return mutant


def wrapped(counts: Array) -> Array:
    """As 32-bit integers hold large ones."""
    whole = np.floor(counts)
    small = np.abs(whole) < 2.0**31
    as_int32 = (whole.astype(np.int64) & 0xFFFFFFFF).astype(np.float64)
    return np.where(small, counts, as_int32)


def _unlisted(counts: Array) -> Array:
    return counts[:1000] if len(counts) > 1000 else counts


def _of_nothing(right: Function, name: str) -> Function:
    """Of no class at all nothing can be said either."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return np.asarray(np.nan) if not np.size(keywords[name]) else right(**keywords)

    return mutant


def plain_mutants(prefix: str, right: Function, name: str = "counts") -> tuple[Mutant, ...]:
    """Mistakes that every index can have."""

    def last_is_background(counts: Array) -> Array:
        return counts[:-1] if len(counts) > 1 and counts[:-1].any() else counts

    return (
        Mutant(f"{prefix}/last-class-lost", "the last class taken for the background",
               _with_counts(right, name, last_is_background)),
        Mutant(f"{prefix}/first-class-lost", "class 0 taken for the background",
               _with_counts(right, name, lambda n: last_is_background(n[::-1])), seen_in="Caffe's index of background"),
        Mutant(f"{prefix}/lost-tail", "classes beyond the thousandth lost", _with_counts(right, name, _unlisted)),
        Mutant(f"{prefix}/int32", "counts kept in 32 bits", _with_counts(right, name, wrapped)),
        Mutant(f"{prefix}/nothing-is-zero", "0 where nothing was counted", mistakes.replacing_nan(right)),
        Mutant(f"{prefix}/in-place", "the counts overwritten", mistakes.overwriting(right, name)),
        Mutant(f"{prefix}/unchecked", "an answer for no class at all", _of_nothing(right, name)),
    )  # fmt: skip
