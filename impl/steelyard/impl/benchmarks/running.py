"""Runs cases within a budget of time, and tells what was found as a document that JSON can hold.

Nothing is left out silently: what is not installed, raises, departs from our result or did not fit into the time
has a row that says so. Small cases run first: what they leave of their part of the time goes to the large ones. Where
the time is not enough for every peer, it goes to those whose first call was the fastest.
"""

import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from steelyard.impl.benchmarks.case import Axes, Call, Case, Floor, Inputs, Result, scene_generator, tensors_of
from steelyard.impl.benchmarks.measuring import Ratio, Stopwatch, Times, in_turns, peak_extra_bytes, ratio, stopwatch

FEWEST_ROUNDS, MOST_ROUNDS = 3, 25
LONG_CALL = 0.05  # seconds: a first call of this length tells how long the next ones take
EAGER, COMPILED = "ours, eager", "ours, compiled"
FLOOR, COMPILED_FLOOR = "floor, eager", "floor, compiled"
LATE = "not measured in the time"
TOO_SLOW = "one call only: the time went to faster ones"
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to run, on what, for how long."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seconds: float = 600.0
    peers: tuple[str, ...] | None = None
    compiled: bool = True
    most_rounds: int = MOST_ROUNDS


@dataclass
class Listener:
    """Told what is being done, and the whole document whenever it has grown."""

    on_step: Callable[[str], None] = lambda _: None
    on_case: Callable[[Row], None] = lambda _: None
    on_document: Callable[[Row], None] = lambda _: None


class Budget:
    """Seconds that are left, by a clock that tests may replace."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._end = now() + seconds
        self.longest_first_call = {"eager": 0.0, "compiled": 0.0}

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - self._now()

    def part(self, number: int) -> "Budget":
        """An equal part of what is left, if so many are to come. Its own first calls are told to the whole."""
        made = Budget(self.left / max(number, 1), self._now)
        made.longest_first_call = self.longest_first_call
        return made

    def allows_first_call(self, kind: str) -> bool:
        """Whether a first call as long as the longest one so far would end in time."""
        return self.left > self.longest_first_call[kind]

    def first_call(self, kind: str, seconds: float) -> None:
        """Remember how long one took."""
        self.longest_first_call[kind] = max(self.longest_first_call[kind], seconds)


@dataclass
class _Ready:
    """A contender that answers, and is to be timed."""

    row: Row
    call: Call
    estimate: float = 0.0


@dataclass
class _Run:
    """What every case of a run shares."""

    options: Options
    clock: Stopwatch
    whole: Budget
    listener: Listener = field(default_factory=Listener)
    _made: tuple[object, Axes, Inputs] | None = None

    def inputs(self, case: Case) -> Inputs:
        """Those of the case before, if they are made the same way."""
        if self._made is None or self._made[:2] != (case.make_inputs, case.axes):
            self._made = None  # both at once may not fit into memory
            device = self.options.device
            self._made = case.make_inputs, case.axes, case.make_inputs(case.axes, device, scene_generator(device))
        return self._made[2]


def new_document(options: Options) -> Row:
    """Environment, and no case yet."""
    device = options.device
    return {
        "complete": False,
        "environment": {
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": device.type,
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        },
        "versions": {name: _version(name) for name in ("numpy", "torch")},
        "dtype": "float32",
        "budget_seconds": options.seconds,
        "seconds": 0.0,
        "cases": [],
        "geometric_mean": geometric_mean([]),
        "growth": [],
    }


def run(
    cases: Sequence[Case],
    options: Options,
    listener: Listener | None = None,
    *,
    document: Row | None = None,
    clock: Stopwatch | None = None,
    budget: Budget | None = None,
) -> Row:
    """Every case, the smallest first, each with an equal part of the time that is left.

    The document has them in the order in which they were given. An interrupt keeps what is complete.
    """
    start = time.perf_counter()
    listener = listener or Listener()
    document = document if document is not None else new_document(options)
    shared = _Run(options, clock or stopwatch(options.device), budget or Budget(options.seconds), listener)
    with _fresh_compiler(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of their own future
        if options.compiled and cases:
            document["compiler_start_seconds"] = _start_compiler(options.device)
        complete: dict[int, Row] = {}
        for number, place in enumerate(sorted(range(len(cases)), key=lambda place: cases[place].magnitude)):
            case = cases[place]
            listener.on_step(f"{number + 1} of {len(cases)}: {case.id}")
            found = complete[place] = run_case(case, shared, shared.whole.part(len(cases) - number))
            document["cases"] = [complete[done] for done in sorted(complete)]
            document["geometric_mean"] = geometric_mean(document["cases"])
            document["versions"] |= {row["library"]: row["version"] for row in found["rows"] if row["version"]}
            document["seconds"] = time.perf_counter() - start
            listener.on_case(found)
            listener.on_document(document)
    return document


def run_case(case: Case, shared: _Run, budget: Budget) -> Row:
    """One case: each contender's first call, whether it gives what ours gives, its memory, then times in turns.

    `budget` is the case's part of the time. A contender with which it would be exceeded is marked, ours excepted.
    """
    options, device = shared.options, shared.options.device
    torch.compiler.reset()
    inputs = shared.inputs(case)
    ready: list[_Ready] = []
    peers: list[_Ready] = []
    floors: list[_Ready] = []
    rows: list[Row] = []
    expected: Result | None = None
    result_bytes: int | None = None
    for row, kind, prepare in _contenders(case, inputs, options):
        rows.append(row)
        shared.listener.on_step(f"{case.id}: {row['contender']}")
        of_ours, is_peer = row["kind"] == "ours", row["kind"] == "peer"
        if not shared.whole.allows_first_call(kind) or not (of_ours or _another_fits(ready, peers, budget)):
            continue
        try:
            call = prepare()
            if of_ours or is_peer:
                call = with_gradients(call, case, inputs)
            begin = time.perf_counter()
            answer = call()
            _wait(device)
            first = time.perf_counter() - begin
        except ImportError as error:
            row.update(status="absent", message=f"{error.name or 'a library'} cannot be imported")
            continue
        except Exception as error:  # noqa: BLE001 - whatever a library raises is its row's message
            row.update(status="error", message=f"{type(error).__name__}: {_first_line(error)}")
            continue
        shared.whole.first_call(kind, first)
        row["first_call_seconds"] = first
        if of_ours or is_peer:
            expected = expected or answer
            row["departs"] = row["departs"] or case.agreement(answer, expected, inputs)
            row["comparable"] = row["known"] or not row["departs"]
        if row["contender"] == EAGER:
            result_bytes = sum(tensor.nbytes for tensor in (*answer.outputs, *answer.gradients))
        del answer
        estimate = first if kind == "eager" and first > LONG_CALL else shared.clock(call, 1)
        {"peer": peers, "floor": floors}.get(row["kind"], ready).append(_Ready(row, call, estimate))
    del expected
    peers.sort(key=_order)
    for contender in (*peers[:1], *floors, *peers[1:]):
        if _needed([*ready, contender]) < budget.left:
            ready.append(contender)
        else:
            contender.row["message"] = TOO_SLOW
    _measure(ready, shared, budget)
    found = {
        "technique": case.technique,
        "size": case.size,
        "axes": dict(case.axes),
        "passes": "forward and backward" if case.differentiates else "forward",
        "likeness": case.likeness,
        "goal": None if case.goal is None else {"eager": case.goal[0], "compiled": case.goal[1]},
        "result_bytes": result_bytes,
        "rounds": max((row.pop("rounds") for row in rows if "rounds" in row), default=0),
        "rows": rows,
    }
    return found | {"summary": summary_of_case(found)}


def summary_of_case(found: Row) -> Row:
    """Ours against the fastest peer that gives what ours gives, in time; and against the thriftiest, in memory."""
    rows = {row["contender"]: row for row in found["rows"]}
    peers = [
        row for row in found["rows"] if row["kind"] == "peer" and row["status"] == "measured" and row["comparable"]
    ]
    fastest = min(peers, key=lambda row: row["median_seconds"], default=None)
    thriftiest = min((row["peak_extra_bytes"] for row in peers), default=None)
    memory = rows[EAGER]["peak_extra_bytes"] if rows[EAGER]["status"] == "measured" else None

    def limit(name: str) -> float | None:
        floor = rows[name]["median_seconds"] if name in rows else None
        return fastest["median_seconds"] / floor if fastest and floor else None

    return {
        "fastest_peer": fastest and fastest["contender"],
        "eager": fastest and fastest["by_eager"] and fastest["by_eager"]["ratio"],
        "eager_limit": limit(FLOOR),
        "compiled": fastest and fastest["by_compiled"] and fastest["by_compiled"]["ratio"],
        "compiled_limit": limit(COMPILED_FLOOR),
        "memory": memory / thriftiest if memory is not None and thriftiest else None,
        "memory_limit": found["result_bytes"] / thriftiest if found["result_bytes"] and thriftiest else None,
    }


def geometric_mean(cases: Sequence[Row]) -> Row:
    """Over the cases in which a peer was measured: how many times as fast as the fastest one ours is."""

    def of(name: str) -> float | None:
        ratios = [case["summary"][name] for case in cases if case["summary"][name]]
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None

    compared = sum(case["summary"]["fastest_peer"] is not None for case in cases)
    return {"cases": compared, "eager": of("eager"), "compiled": of("compiled")}


def _contenders(case: Case, inputs: Inputs, options: Options) -> Iterator[tuple[Row, str, Callable[[], Call]]]:
    """Ours first: the others are held against it."""
    arguments = {name: inputs[name] for name in case.takes}

    def compiled() -> Call:
        function = torch.compile(case.ours, fullgraph=True, dynamic=False)
        return lambda: function(**arguments)

    yield _row(EAGER, "ours"), "eager", lambda: lambda: case.ours(**arguments)
    if options.compiled and case.compiles:
        yield _row(COMPILED, "ours"), "compiled", compiled
    x = inputs[case.yardstick].detach()
    yield _row("copy", "yardstick"), "eager", lambda: x.clone
    if x.is_floating_point():
        yield _row("exp", "yardstick"), "eager", lambda: x.exp
    for peer in case.peers:
        if options.peers is None or peer.name.partition(",")[0] in options.peers:
            yield _row(peer.name, "peer", departs=peer.departs), "eager", partial(peer.prepare, inputs)
    for floor in case.floors:
        if options.compiled or not floor.compiled:
            name, kind = (COMPILED_FLOOR, "compiled") if floor.compiled else (FLOOR, "eager")
            yield _row(name, "floor", what=floor.what), kind, partial(_floor, floor, inputs)


def _floor(floor: Floor, inputs: Inputs) -> Call:
    prepared = floor.prepare(inputs)
    calls = prepared if isinstance(prepared, tuple) else (prepared,)
    if floor.compiled:
        calls = tuple(torch.compile(call, fullgraph=True, dynamic=False) for call in calls)
    return lambda: [call() for call in calls]


def _row(contender: str, kind: str, *, departs: str = "", what: str = "") -> Row:
    library = contender.partition(",")[0] if kind == "peer" else "torch"
    return {
        "contender": contender,
        "kind": kind,
        "library": library,
        "version": _version(library),
        "status": "late",
        "message": LATE,
        "what": what,
        "departs": departs,
        "known": bool(departs),
        "comparable": kind == "ours",
        "first_call_seconds": None,
        "median_seconds": None,
        "quartiles_seconds": None,
        "peak_extra_bytes": None,
        "by_eager": None,
        "by_compiled": None,
    }


def with_gradients(call: Call, case: Case, inputs: Inputs) -> Callable[[], Result]:
    """Forward, and backward from the sum of what came out; of a scalar, from itself."""
    wanted = [inputs[name] for name in case.differentiates]

    def forward() -> Result:
        return Result(tensors_of(call()), ())

    def both() -> Result:
        outputs = [tensor for tensor in tensors_of(call()) if tensor.requires_grad]
        assert [output.ndim for output in outputs] == [0], "a loss that is differentiated is a scalar here"
        return Result((outputs[0].detach(),), torch.autograd.grad(outputs, wanted))

    return both if wanted else forward


def _measure(ready: list[_Ready], shared: _Run, budget: Budget) -> None:
    """Memory, then times in turns; contenders that do not fit into the time are marked, the slowest first."""
    device = shared.options.device
    while ready and FEWEST_ROUNDS * sum(contender.estimate for contender in ready) > shared.whole.left:
        ready.remove(max(ready, key=lambda contender: contender.estimate))
    if not ready:
        return
    for contender in ready:
        contender.row.update(status="measured", message="")
        if contender.row["kind"] in {"ours", "peer"}:
            contender.row["peak_extra_bytes"] = peak_extra_bytes(contender.call, device)
    by_name = {contender.row["contender"]: contender for contender in ready}
    a_round = sum(max(contender.estimate, 1e-3) for contender in ready)
    times = in_turns(
        {name: contender.call for name, contender in by_name.items()},
        shared.clock,
        rounds=max(shared.options.most_rounds, 1),
        estimates={name: contender.estimate for name, contender in by_name.items()},
        enough=lambda done: (done >= FEWEST_ROUNDS and budget.left < a_round) or shared.whole.left < a_round,
    )
    for name, contender in by_name.items():
        _fill(contender.row, times[name], times)


def _needed(ready: Sequence[_Ready]) -> float:
    """Seconds for their memory and the fewest rounds."""
    return (FEWEST_ROUNDS + 1) * sum(contender.estimate for contender in ready)


def _another_fits(ready: Sequence[_Ready], peers: Sequence[_Ready], budget: Budget) -> bool:
    """Whether, after a first call as long as a peer's longest, the fastest peer so far could still be timed.

    One that is too slow to be timed at all does not keep the others from being tried.
    """
    left, ours = budget.left, _needed(ready)
    if not peers:
        return ours < left
    fastest = ours + _needed([min(peers, key=_order)])
    return max(peer.estimate for peer in peers) + (fastest if fastest < left else ours) < left


def _order(peer: _Ready) -> tuple[bool, float]:
    """Those first that give what ours gives, and are fast."""
    return not peer.row["comparable"], peer.estimate


def _fill(row: Row, own: Times, times: dict[str, Times]) -> None:
    row["median_seconds"], row["quartiles_seconds"] = own.median, list(own.quartiles)
    row["rounds"] = len(own.samples)
    for field_, name in (("by_eager", EAGER), ("by_compiled", COMPILED)):
        if name in times and row["contender"] != name:
            row[field_] = _shown(ratio(own, times[name]))


def _shown(found: Ratio) -> Row:
    return {"ratio": found.of_medians, "quartiles": [found.low, found.high]}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """A cache of its own for the compiler: what was compiled in an earlier run would make first calls look cheap."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    with TemporaryDirectory(prefix="steelyard-bench-", ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            torch.compiler.reset()
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


def _start_compiler(device: torch.device) -> float:
    """Seconds until a first trivial function is compiled: what is loaded once is nobody's first call."""
    begin = time.perf_counter()
    x = torch.zeros(4, device=device, requires_grad=True)
    torch.autograd.grad(torch.compile(_trivial, fullgraph=True)(x), x)
    return time.perf_counter() - begin


def _trivial(x: Tensor) -> Tensor:
    return x.exp().sum()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The model as Linux tells it, else what Python knows."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device's file
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"
