"""One run of the benchmark: what `steelyard bench` calls."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from steelyard.impl.benchmarks import catalogue
from steelyard.impl.benchmarks.growth import run_growth
from steelyard.impl.benchmarks.running import Budget, Listener, Options, new_document, run

SHARE_OF_GROWTH = 0.25


def benchmark(  # noqa: PLR0913 - the options of the command
    *,
    techniques: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    device: str = "cpu",
    seconds: float = 600.0,
    growth: bool = False,
    compiled: bool = True,
    rounds: int = 25,
    threads: int | None = None,
    on_step: Callable[[str], None] = lambda _: None,
    on_case: Callable[[dict[str, Any]], None] = lambda _: None,
    on_document: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run the cases of the techniques (default: all) against the peers (default: all) within the seconds.

    `on_document` is called whenever the document has grown; what it held last is what an interrupt leaves.
    """
    _known("technique", techniques, catalogue.techniques())
    _known("peer", peers, catalogue.peers())
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected one that is there, got cuda; torch.cuda.is_available() is False")
    if not seconds > 0:
        raise ValueError(f"seconds: expected a number > 0, got {seconds}")
    if threads is not None:
        torch.set_num_threads(threads)
    budget = Budget(seconds)
    options = Options(torch.device(device), seconds, None if peers is None else tuple(peers), compiled, rounds)
    cases = [case for case in catalogue.CASES if techniques is None or case.technique in techniques]
    listener = Listener(on_step, on_case, on_document)
    document = new_document(options)
    on_document(document)
    start = time.perf_counter()
    for_cases = Budget(seconds * (1.0 - SHARE_OF_GROWTH)) if growth else budget
    run(cases, options, listener, document=document, budget=for_cases)
    if growth:
        run_growth(cases, options, document, listener, budget)
    document["seconds"] = time.perf_counter() - start
    document["complete"] = True
    on_document(document)
    return document


def _known(what: str, wanted: Sequence[str] | None, names: Sequence[str]) -> None:
    for name in wanted or ():
        if name not in names:
            raise ValueError(f"{what}: expected one of {', '.join(names)}, got {name!r}")
