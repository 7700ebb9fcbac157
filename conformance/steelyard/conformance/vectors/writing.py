"""Writing vectors: inputs of a contract's requirements, what the oracle answers, and the bounds of the judge.

A directory holds a file of JSON lines for each technique, one case a line, and `manifest.json`. The inputs are drawn
by the generators that `check` uses, from a seed alone, so that they are the same on every machine; of several draws a
small one is taken. A file ends at so many cases, or when they are expected to fill so many bytes for each of them. The
first cases of a longer file are those of a shorter one.

What vectors cannot hold is left out: bad inputs that must be refused, and distributions. Laws (a batch equals its
images, padding changes nothing) follow from the values that are demanded here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.conformance.candidates import quiet
from steelyard.conformance.checking import GradientCheck, value
from steelyard.conformance.contract import Array, Case, Generator, Technique
from steelyard.conformance.doors import UsageError
from steelyard.conformance.encoding import encode_array, encode_case, encode_float
from steelyard.conformance.generation import ALL_DTYPES, SeededDraw
from steelyard.conformance.judging import Bounds, gradient_bounds, value_bounds
from steelyard.conformance.version import __version__

SCHEMA = "steelyard-vectors-1"
MANIFEST = "manifest.json"
CASES = 200
BYTES_A_CASE = 220
OUTPUTS = "outputs"
"""What a requirement of the value covers; one of a gradient covers the argument's name."""

_SMALL = 12  # elements of all arguments together
_TRIES = 6  # draws for a small case
_TURNS = 4  # draws of a requirement, in units of the number of cases: most are drawn once more where inputs are few
_BYTES_OF_AN_ARRAY, _BYTES_OF_A_FLOAT, _BYTES_OF_AN_INTEGER = 90, 34, 3
_STEP, _HUGE = 1e-5, 1e300  # of the fingerprint
_ROUND_UP = Context(prec=3, rounding=ROUND_CEILING)


@dataclass
class _Source:
    """Requirements that draw the same inputs."""

    generator: Generator
    dtypes: tuple[str, ...]
    covers: dict[str, str] = field(default_factory=dict)
    """What of a case each requirement judges."""


@dataclass(frozen=True)
class FrozenCase:
    """One input, what of it which requirement judges, and the oracle's answers; bounds are derived for the file."""

    id: str
    technique: Technique
    case: Case
    covers: Mapping[str, str]
    key: str
    """The input and what it covers, exactly."""
    outputs: Mapping[str, Array]
    gradients: Mapping[str, tuple[Array, Array]]
    """Lowest and highest admissible; the same but at kinks."""

    @classmethod
    def of(cls, id_: str, technique: Technique, drawn: Case, covers: Mapping[str, str]) -> FrozenCase:
        """Ask the oracle."""
        arguments = [part for part in dict.fromkeys(covers.values()) if part != OUTPUTS]
        case = replace(drawn, cotangent=drawn.cotangent if arguments else None)
        outputs: dict[str, Array] = {}
        if OUTPUTS in covers.values():
            names = [output.name for output in technique.outputs]
            outputs = dict(zip(names, technique.evaluate(case), strict=True))
        gradients = {}
        for name in arguments:
            exact = technique.evaluate_gradient(name, case)
            interval = technique.gradient_interval
            gradients[name] = (exact, exact) if interval is None else interval(name, case)
        key = json.dumps([covers, encode_case(case)], sort_keys=True)
        return cls(id_, technique, case, covers, key, outputs, gradients)

    @property
    def expected_bytes(self) -> int:
        """Length of the line, about; the same on every machine, which the last digits of an answer are not."""
        answers = [*self.outputs.values(), *(low for low, _ in self.gradients.values())]
        return len(self.key) + sum(
            _BYTES_OF_AN_ARRAY + values.size * (_BYTES_OF_A_FLOAT if values.dtype.kind == "f" else _BYTES_OF_AN_INTEGER)
            for values in answers
        )

    def document(self, floats: str) -> dict[str, Any]:
        """The JSON form."""
        outputs = {}
        for number, output in enumerate(self.technique.outputs if self.outputs else ()):
            right = self.outputs[output.name]
            outputs[output.name] = {"expected": encode_array(right, floats)} | self._value_bounds(number)
            if output.unordered:
                outputs[output.name]["unordered"] = True
        gradients = {}
        for name, (low, high) in self.gradients.items():
            same = np.array_equal(low, high, equal_nan=True)
            ends = {"expected": low} if same else {"low": low, "high": high}
            gradients[name] = {end: encode_array(values, floats) for end, values in ends.items()}
            gradients[name] |= self._gradient_bounds(name, np.where(np.abs(high) >= np.abs(low), high, low))
        head = {"case": self.id, "covers": dict(self.covers)}
        return {**head, **encode_case(self.case, floats), "outputs": outputs, "gradients": gradients}

    def _value_bounds(self, number: int) -> dict[str, Any]:
        output = self.technique.outputs[number]
        if output.dtype != "float":
            return {}
        expected = np.asarray(self.outputs[output.name], dtype=np.float64)
        return _encoded(value_bounds(self.technique, self.case, expected, self.case.dtype, None, number))

    def _gradient_bounds(self, name: str, expected: Array) -> dict[str, Any]:
        dtype = self.case.dtype
        return _encoded(gradient_bounds(self.technique, name, self.case, expected, dtype, None, value_dtype=dtype))

    def coarse(self) -> str:
        """The answers, coarsely."""
        outputs = {name: _coarse(answer) for name, answer in self.outputs.items()}
        gradients = {name: [_coarse(low), _coarse(high)] for name, (low, high) in self.gradients.items()}
        return json.dumps([outputs, gradients])


@dataclass(frozen=True)
class Vectors:
    """The vectors of one technique."""

    technique: Technique
    lines: tuple[str, ...]
    requirements: tuple[str, ...]
    fingerprint: Mapping[str, str]

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.technique.id}.jsonl"

    @property
    def content(self) -> bytes:
        """Content of the file."""
        return "".join(f"{line}\n" for line in self.lines).encode()

    def entry(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {
            "id": self.technique.id,
            "file": self.file,
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "bytes": len(self.content),
            "cases": len(self.lines),
            "requirements": list(self.requirements),
            "fingerprint": dict(self.fingerprint),
        }


def write_vectors(
    directory: Path,
    techniques: Sequence[Technique],
    *,
    seed: int = 0,
    count: int = CASES,
    dtypes: Sequence[str] = ALL_DTYPES,
    floats: str = "number",
    on_technique: Callable[[Vectors], None] = lambda made: None,  # noqa: ARG005
) -> None:
    """Write the vectors of techniques into a directory that is new or empty; the manifest comes last."""
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory}: expected a new or empty directory; vectors are not written over others")
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for technique in techniques:
        made = make_vectors(technique, seed=seed, count=count, dtypes=dtypes, floats=floats)
        (directory / made.file).write_bytes(made.content)
        entries.append(made.entry())
        on_technique(made)
    manifest = {
        "schema": SCHEMA,
        "steelyard": __version__,
        "seed": seed,
        "cases": count,
        "dtypes": list(dtypes),
        "floats": floats,
        "provenance": {
            "generator": "steelyard vectors write",
            "python": platform.python_version(),
            "numpy": np.__version__,
            "hypothesis": version("hypothesis"),
        },
        "techniques": entries,
    }
    (directory / MANIFEST).write_bytes((json.dumps(manifest, indent=1) + "\n").encode())


def make_vectors(
    technique: Technique,
    *,
    seed: int = 0,
    count: int = CASES,
    dtypes: Sequence[str] = ALL_DTYPES,
    floats: str = "number",
) -> Vectors:
    """The vectors of one technique."""
    frozen = list(frozen_cases(technique, seed=seed, count=count, dtypes=dtypes))
    with quiet():
        lines = [json.dumps(case.document(floats), separators=(",", ":"), allow_nan=False) for case in frozen]
    covered = {requirement for case in frozen for requirement in case.covers}
    order = tuple(requirement.id for requirement in technique.requirements if requirement.id in covered)
    return Vectors(technique, tuple(lines), order, fingerprint(frozen))


def frozen_cases(
    technique: Technique, *, seed: int = 0, count: int = CASES, dtypes: Sequence[str] = ALL_DTYPES
) -> Iterator[FrozenCase]:
    """The cases of one technique, its requirements in turn, until the file is full."""
    sources = _sources(technique, dtypes)
    seen: set[str] = set()
    room = count * BYTES_A_CASE
    for number, source in itertools.product(range(_TURNS * count), sources):
        drawn = _small_case(source, f"vectors {seed} {technique.id} {next(iter(source.covers))} {number}")
        with quiet():
            case = FrozenCase.of(f"{technique.id}-{len(seen):04d}", technique, drawn, source.covers)
        if case.key in seen:
            continue
        room -= case.expected_bytes
        if len(seen) == count or (number and room < 0):  # each source has one case at least
            return
        seen.add(case.key)
        yield case


def fingerprint(cases: Sequence[FrozenCase]) -> dict[str, str]:
    """SHA-256 of the inputs, exactly, and of the answers, so coarsely that no machine's last digit changes it."""
    return {
        name: hashlib.sha256("".join(f"{text}\n" for text in texts).encode()).hexdigest()
        for name, texts in (("inputs", [case.key for case in cases]), ("answers", [case.coarse() for case in cases]))
    }


def _sources(technique: Technique, dtypes: Sequence[str]) -> list[_Source]:
    sources: dict[tuple[Generator, tuple[str, ...]], _Source] = {}
    for requirement in technique.requirements:
        check = requirement.check
        taken = tuple(name for name in requirement.dtypes if name in dtypes)
        if (check is value or isinstance(check, GradientCheck)) and taken:
            source = sources.setdefault((requirement.cases, taken), _Source(requirement.cases, taken))
            source.covers[requirement.id] = check.argument if isinstance(check, GradientCheck) else OUTPUTS
    return list(sources.values())


def _small_case(source: _Source, seed: str) -> Case:
    """The first of some draws that is small, else the smallest."""
    drawn = []
    for attempt in range(_TRIES):
        case = source.generator(SeededDraw(f"{seed} {attempt}", source.dtypes))
        drawn.append(case)
        if _size(case) <= _SMALL:
            return case
    return min(drawn, key=_size)


def _size(case: Case) -> int:
    return sum(values.size for values in case.arguments.values())


def _encoded(bounds: Bounds) -> dict[str, Any]:
    """Bounds in the order of the elements, as numbers."""
    return {name: [_rounded_up(bound) for bound in getattr(bounds, name).ravel()] for name in ("strict", "loose")}


def _rounded_up(bound: float) -> str | float:
    """Three digits, never below the bound."""
    short = float(_ROUND_UP.create_decimal_from_float(float(bound)))
    return encode_float(short if math.isfinite(short) else float(bound), "number")


def _coarse(values: Array) -> list[Any]:
    """Floats in steps of 1e-5, absolute below 1 and relative above; integers and masks as they are.

    A step ends nowhere near a number that a formula gives exactly: two machines, whose answers differ in the last
    digit, agree on the step. What is near the end of the range counts as infinite for the same reason.
    """
    if values.dtype.kind != "f":
        return [list(values.shape), values.ravel().tolist()]
    steps = [
        None if math.isnan(value) else math.floor(math.asinh(max(-_HUGE, min(value, _HUGE))) / _STEP + 1 / 3)
        for value in values.ravel().tolist()
    ]
    return [list(values.shape), steps]
