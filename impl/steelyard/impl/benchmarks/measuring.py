"""Times and memory of calls that are compared: in turns, so that what slows the machine down hits all of them."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

SHORTEST_SAMPLE = 1e-3  # seconds: below that the clock and the loop are part of the number

Stopwatch = Callable[[Callable[[], object], int], float]
"""Seconds that a number of calls takes in all."""


@dataclass(frozen=True)
class Times:
    """Seconds of a call, a sample a round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds."""
        return quartiles(self.samples)


@dataclass(frozen=True)
class Ratio:
    """How many times as long one call takes as another: of the medians, and the quartiles over the rounds."""

    of_medians: float
    low: float
    high: float


def ratio(longer: Times, shorter: Times) -> Ratio:
    """`longer` by `shorter`; the spread is that of the pairs, each measured in one round."""
    pairs = [a / b for a, b in zip(longer.samples, shorter.samples, strict=True)]
    return Ratio(longer.median / shorter.median, *quartiles(pairs))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile, between values where need be."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def stopwatch(device: torch.device) -> Stopwatch:
    """The clock of a device: events on its stream, or the machine's own."""
    if device.type == "cuda":
        return _seconds_on_stream
    return _seconds


def _seconds(call: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return time.perf_counter() - start


def _seconds_on_stream(call: Callable[[], object], number: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for _ in range(number):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000.0


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    clock: Stopwatch,
    *,
    rounds: int,
    estimates: Mapping[str, float],
    enough: Callable[[int], bool] = lambda _: False,
) -> dict[str, Times]:
    """Times of all calls, a sample of each a round; each round begins with another one. `enough` may end it early.

    `estimates` are seconds of one call: short calls are repeated within a sample.
    """
    names = list(calls)
    repeats = {name: max(1, round(SHORTEST_SAMPLE / max(estimates[name], 1e-9))) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _no_collection():
        for number in range(rounds):
            first = number % len(names) if names else 0
            for name in names[first:] + names[:first]:
                samples[name].append(clock(calls[name], repeats[name]) / repeats[name])
            if enough(number + 1):
                break
    return {name: Times(tuple(values)) for name, values in samples.items()}


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Most memory that the allocator had handed out at once during a call, beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as recorded:
        call()
    assert recorded.profiler is not None
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


@contextmanager
def _no_collection() -> Iterator[None]:
    """The garbage collector would run in some samples and not in others."""
    on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
