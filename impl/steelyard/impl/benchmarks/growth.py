"""How the time of ours grows with the size: the slope of log time over log size."""

import math
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from steelyard.impl.benchmarks.case import Case, Growth, scene_generator
from steelyard.impl.benchmarks.measuring import in_turns, stopwatch
from steelyard.impl.benchmarks.running import LATE, Budget, Listener, Options, with_gradients

ROUNDS = 5


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Least-squares slope of log seconds over log size: 1 is linear."""
    x = [math.log(size) for size in sizes]
    y = [math.log(value) for value in seconds]
    middle, height = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - middle) ** 2 for value in x)
    return sum((a - middle) * (b - height) for a, b in zip(x, y, strict=True)) / spread


def run_growth(
    cases: Sequence[Case], options: Options, document: dict[str, Any], listener: Listener, budget: Budget
) -> None:
    """Append to the document how each case grows along each of its axes; sizes that do not fit are marked."""
    curves = [(case, growth) for case in cases for growth in case.growth]
    start, before = time.perf_counter(), document["seconds"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (case, growth) in enumerate(curves):
            listener.on_step(f"growth {number + 1} of {len(curves)}: {case.technique} by {growth.axis}")
            document["growth"].append(_curve(case, growth, options, budget.part(len(curves) - number)))
            document["seconds"] = before + time.perf_counter() - start
            listener.on_document(document)


def _curve(case: Case, growth: Growth, options: Options, budget: Budget) -> dict[str, Any]:
    clock = stopwatch(options.device)
    points: list[dict[str, Any]] = []
    for size in growth.sizes:
        axes = {**case.axes, **growth.beside, growth.axis: size}
        last = points[-1] if points else None
        expected = last["median_seconds"] * size / last["size"] if last and last["median_seconds"] else 0.0
        point = {"size": size, "axes": axes, "median_seconds": None, "status": "late", "message": LATE}
        points.append(point)
        if (ROUNDS + 2) * expected > budget.left or (last and last["status"] == "late"):
            continue
        inputs = case.make_inputs(axes, options.device, scene_generator(options.device))
        arguments = {name: inputs[name] for name in case.takes}
        call = with_gradients(partial(case.ours, **arguments), case, inputs)
        call()
        estimate = clock(call, 1)
        times = in_turns({"ours": call}, clock, rounds=ROUNDS, estimates={"ours": estimate})["ours"]
        point.update(median_seconds=times.median, status="measured", message="")
        del inputs, arguments, call
        if options.device.type == "cuda":
            torch.cuda.empty_cache()
    measured = [point for point in points if point["status"] == "measured"]
    return {
        "technique": case.technique,
        "axis": growth.axis,
        "steepest": growth.steepest,
        "slope": slope([p["size"] for p in measured], [p["median_seconds"] for p in measured])
        if len(measured) > 1
        else None,
        "points": points,
    }
