"""Mutants made by machine: the oracle with one small change, judged like a candidate.

The catalogue of a contract holds the mistakes that people make. Here every slip of the pen in the oracle's own source
is tried, in its gradient and in the helpers that it calls: each must fail some requirement. One that fails none points
to a claim that nobody checks, unless the changed function is the same function; those stand, with the reason, in
`equivalent_mutants.toml`.

Not changed are the checks of arguments (calls of `steelyard.reference.checks`, of functions that only call these, and
conditions that only raise: what a candidate must refuse is a choice, made in the requirements of kind "error on bad
input"), defaults that no call falls back on, and the functions that another technique's contract is about.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import random
import signal
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from steelyard.conformance.candidates import OwnFunctions
from steelyard.conformance.contract import Technique
from steelyard.conformance.diagnosis import oracle_functions
from steelyard.conformance.mutation_operators import Change, changes
from steelyard.conformance.recording import Recording
from steelyard.conformance.registry import TECHNIQUES

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
_SPECIFICATION = "steelyard.reference."
_CHECKS = "steelyard.reference.checks"
_LEAST_SECONDS = 5.0
_TIMES_THE_ORACLE = 10.0
_PIECE = 40  # mutants that share one recording


@dataclass(frozen=True)
class AutomaticMutant:
    """One changed function of the specification."""

    id: str
    """Function and change, independent of line numbers."""
    module: str
    function: str
    line: int
    change: Change


@dataclass(frozen=True)
class AutomaticResult:
    """What became of one mutant."""

    technique: str
    mutant: str
    line: int
    by: str
    """The first requirement that it fails, or "time"; empty if it survives."""
    equivalent: str = ""
    """Why it is the same function, if it is listed as such."""

    @property
    def killed(self) -> bool:
        """Whether a requirement caught it."""
        return bool(self.by)


def automatic_mutants(contract: Technique) -> list[AutomaticMutant]:
    """Every mutant of a technique's oracle, its gradients and their helpers."""
    roots = (contract.oracle, *contract.gradients.values())
    functions = specified_functions(contract)
    calls = [call for function in functions for call in _calls(function)]
    found = []
    for function in functions:
        definition = _definition(function)
        if definition is None:
            continue
        skip = partial(_is_check, function=function)
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        signature = function not in roots and _falls_back(definition, calls)
        for change in changes(definition, signature=signature, skip=skip):
            mutant_id = f"{name}: {change.text}"
            found.append(AutomaticMutant(mutant_id, function.__module__, function.__name__, change.line, change))
    return found


def judge_automatic(
    technique_id: str, wanted: Sequence[str] | None = None, *, profile: str = "default", seed: int = 0
) -> list[AutomaticResult]:
    """Judge automatic mutants of one technique (all, or those of the given ids) in this process."""
    contract = TECHNIQUES[technique_id]
    recording = Recording(contract, profile=profile, seed=seed)
    started = time.monotonic()
    for requirement, report in recording.failures(oracle_functions(contract)):
        raise RuntimeError(f"{technique_id}: the oracle itself fails {requirement.id}: {report}")
    seconds = max(_LEAST_SECONDS, _TIMES_THE_ORACLE * (time.monotonic() - started))
    world = _World(contract)
    equivalent = read_equivalent()
    results = []
    for mutant in automatic_mutants(contract):
        if wanted is None or mutant.id in wanted:
            with world.changed(mutant):
                by = _killer(recording, world.candidate(mutant.id), seconds)
            reason = equivalent.get((technique_id, mutant.id)) or equivalent.get(("", mutant.id), "")
            results.append(AutomaticResult(technique_id, mutant.id, mutant.line, by, reason))
    return results


def automatic_matrix(
    techniques: Sequence[Technique],
    *,
    profile: str = "default",
    seed: int = 0,
    processes: int = 1,
    sample: int | None = None,
) -> Iterator[AutomaticResult]:
    """Judge the automatic mutants of the techniques; `sample` takes so many of each, drawn by the seed."""
    pieces = []
    for contract in techniques:
        ids = [mutant.id for mutant in automatic_mutants(contract)]
        if sample is not None and sample < len(ids):
            ids = random.Random(seed).sample(ids, sample)  # noqa: S311 - reproducible, not secret
        size = min(_PIECE, -(-len(ids) // processes)) or 1
        pieces += [(contract.id, ids[start : start + size]) for start in range(0, len(ids), size)]
    judge = partial(judge_automatic, profile=profile, seed=seed)
    if processes == 1:
        for technique_id, ids in pieces:
            yield from judge(technique_id, ids)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for rows in pool.map(judge, *zip(*pieces, strict=True)):
            yield from rows


@cache
def read_equivalent() -> Mapping[tuple[str, str], str]:
    """Reasons why mutants are equivalent, by technique ("" for every one) and mutant."""
    document = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    return {(entry.get("technique", ""), entry["mutant"]): entry["reason"] for entry in document.get("equivalent", [])}


def wrong_entries(results: Sequence[AutomaticResult]) -> list[str]:
    """Mutants that are listed as equivalent although a requirement catches them."""
    return [f"{row.technique}: {row.mutant}: killed by {row.by}" for row in results if row.killed and row.equivalent]


def unknown_entries(techniques: Sequence[Technique]) -> list[str]:
    """Entries of the list that name no mutant of the given techniques."""
    existing = {(contract.id, mutant.id) for contract in techniques for mutant in automatic_mutants(contract)}
    names = {mutant_id for _, mutant_id in existing}
    return [
        f"{technique_id or 'every technique'}: {mutant_id}: no such mutant"
        for technique_id, mutant_id in read_equivalent()
        if ((technique_id, mutant_id) not in existing if technique_id else mutant_id not in names)
    ]


# --- which functions -----------------------------------------------------------------------------------------------


def specified_functions(contract: Technique) -> list[FunctionType]:
    """Functions of the specification that the oracle and its gradients come to, without other techniques' own."""
    others = {
        function
        for other in TECHNIQUES.values()
        for function in (other.oracle, *other.gradients.values())
        if other.id != contract.id
    }
    roots = [f for f in (contract.oracle, *contract.gradients.values()) if isinstance(f, FunctionType)]
    found: list[FunctionType] = []
    waiting = list(roots)
    while waiting:
        function = waiting.pop(0)
        if function in found or (function in others and function not in roots):
            continue
        if function.__module__ == _CHECKS:
            continue
        found.append(function)
        waiting += _called(function)
    return [function for function in found if function.__module__.startswith(_SPECIFICATION)]


def _called(function: FunctionType) -> Iterator[FunctionType]:
    names = set(_names(function.__code__))
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    for value in [*(function.__globals__.get(name) for name in names), *cells]:
        if isinstance(value, FunctionType) and value.__module__.startswith("steelyard."):
            yield value
        elif isinstance(value, ModuleType) and value.__name__.startswith(_SPECIFICATION):
            yield from (v for n, v in vars(value).items() if n in names and isinstance(v, FunctionType))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@cache
def _definition(function: FunctionType) -> ast.FunctionDef | None:
    for node in _module(function.__module__).body:
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            return node
    return None


@cache
def _module(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[name]))


def _is_check(node: ast.AST, *, function: FunctionType) -> bool:
    """Whether a statement or call does nothing but refuse bad input."""
    if isinstance(node, ast.If):
        return not node.orelse and all(
            isinstance(statement, ast.Raise)
            or (isinstance(statement, ast.Expr) and _is_check(statement.value, function=function))
            for statement in node.body
        )
    if isinstance(node, ast.Assign | ast.Expr):
        return _is_check(node.value, function=function)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    called = function.__globals__.get(node.func.id)
    return getattr(called, "__module__", "") == _CHECKS or (isinstance(called, FunctionType) and _only_refuses(called))


@cache
def _only_refuses(function: FunctionType) -> bool:
    """Whether a function of the specification gives back what it gets, or raises."""
    definition = _definition(function) if function.__module__.startswith(_SPECIFICATION) else None
    if definition is None:
        return False
    *body, last = definition.body[1:] if ast.get_docstring(definition) else definition.body
    if isinstance(last, ast.Return):
        value = last.value
        gives_back = isinstance(value, ast.Name) or (value is not None and _is_check(value, function=function))
    else:
        gives_back = _is_check(last, function=function)
    return gives_back and all(_is_check(statement, function=function) for statement in body)


def _calls(function: FunctionType) -> list[ast.Call]:
    definition = _definition(function)
    return [] if definition is None else [node for node in ast.walk(definition) if isinstance(node, ast.Call)]


def _falls_back(definition: ast.FunctionDef, calls: Sequence[ast.Call]) -> bool:
    """Whether a default can count: not where every call names every keyword."""
    keywords = {argument.arg for argument in definition.args.kwonlyargs}
    own = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == definition.name]
    all_named = all(keywords <= {keyword.arg for keyword in call.keywords} for call in own)
    return bool(definition.args.defaults) or not own or not all_named


# --- a second world, in which functions can be changed --------------------------------------------------------------


class _World:
    """Copies of the specification's modules, whose functions call each other: the judge's own stay as they are."""

    def __init__(self, contract: Technique) -> None:
        self._contract = contract
        origins = {f.__module__ for f in (contract.oracle, *contract.gradients.values()) if isinstance(f, FunctionType)}
        names = {name for name in sys.modules if name.startswith(_SPECIFICATION)} | origins
        self._modules = {name: ModuleType(name) for name in names}
        self._copies: dict[FunctionType, FunctionType] = {}
        for name, copied in self._modules.items():
            vars(copied).update(vars(importlib.import_module(name)))
        for copied in self._modules.values():
            for name, value in list(vars(copied).items()):
                vars(copied)[name] = self._copy(value)

    def candidate(self, name: str) -> OwnFunctions:
        """The oracle of this world."""
        contract = self._contract
        options = frozenset(option.name for option in contract.options)
        gradients = {argument: self._copy(function) for argument, function in contract.gradients.items()}
        return OwnFunctions(name, contract.id, self._copy(contract.oracle), options, gradients)

    @contextmanager
    def changed(self, mutant: AutomaticMutant) -> Iterator[None]:
        """While it lasts, one function of this world is a mutant."""
        module = self._modules[mutant.module]
        function: FunctionType = vars(module)[mutant.function]
        scratch = dict(vars(module))
        tree = ast.fix_missing_locations(ast.Module([mutant.change.tree], type_ignores=[]))
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # some changes make no sense
            code = compile(tree, f"<mutant of {mutant.function}>", "exec")
        exec(code, scratch)  # noqa: S102 - our own source, changed
        new: FunctionType = scratch[mutant.function]
        before = function.__code__, function.__defaults__, function.__kwdefaults__
        function.__code__, function.__defaults__, function.__kwdefaults__ = (
            new.__code__, new.__defaults__, new.__kwdefaults__,
        )  # fmt: skip
        try:
            yield
        finally:
            function.__code__, function.__defaults__, function.__kwdefaults__ = before

    def _copy(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, ModuleType):
            return self._modules.get(value.__name__, value)
        if not isinstance(value, FunctionType) or value.__module__ not in self._modules:
            return value
        if value not in self._copies:
            namespace = vars(self._modules[value.__module__])
            closure = tuple(CellType(self._copy(cell.cell_contents)) for cell in value.__closure__ or ())
            copied = FunctionType(value.__code__, namespace, value.__name__, value.__defaults__, closure or None)
            copied.__kwdefaults__ = value.__kwdefaults__
            self._copies[value] = copied
        return self._copies[value]


# --- judging ---------------------------------------------------------------------------------------------------------


class _TimeUpError(BaseException):
    """A mutant does not end."""


def _killer(recording: Recording, candidate: OwnFunctions, seconds: float) -> str:
    try:
        with _at_most(seconds):
            for requirement in recording.contract.requirements:
                try:
                    report = recording.failure(candidate, requirement)
                except Exception:  # noqa: BLE001 - whatever the mutant raises
                    report = "raised"
                if report:
                    return requirement.id
    except _TimeUpError:
        return "time"
    return ""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise after so many seconds; without effect where there are no timers (Windows, other threads)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def time_up(*_: object) -> None:
        raise _TimeUpError

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, time_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
