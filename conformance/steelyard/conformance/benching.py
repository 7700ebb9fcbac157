"""`steelyard bench`. The benchmark itself belongs to the implementation, and is loaded by name."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.doors import UsageError
from steelyard.conformance.exits import EXIT_INTERRUPTED, clear_errors
from steelyard.conformance.extras import needed
from steelyard.conformance.report_files import check_places, write_json
from steelyard.conformance.version import __version__

BENCHMARKS = "steelyard.impl.benchmarks"
MOST_SECONDS = 600.0


def bench(  # noqa: C901, PLR0913, PLR0917 - Typer reads them as options
    techniques: Annotated[
        list[str] | None, typer.Option("--technique", "-t", metavar="ID", help="Only this technique; may be repeated.")
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="NAME", help="Only this library (mmdet, torchvision, ...); may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seconds: Annotated[
        float, typer.Option(metavar="BUDGET", min=1.0, max=MOST_SECONDS, help="Time for all of it.")
    ] = MOST_SECONDS,
    growth: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--growth", help="Also how time grows with the number of anchors, images, classes, objects.")
    ] = False,
    compiled: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--compiled/--no-compiled", help="Also ours through torch.compile.")
    ] = True,
    rounds: Annotated[int, typer.Option(min=1, help="At most so many samples of each call.")] = 25,
    threads: Annotated[int | None, typer.Option(min=1, help="Of PyTorch; default: its own choice.")] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - is standard output.")
    ] = None,
    plot_file: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw it: .svg or .png (needs steelyard[report]).")
    ] = None,
) -> None:
    """Time our implementation beside the libraries that are installed, on the same tensors.

    Each technique has rows for ours (eager, and through torch.compile), for each library, called as its users call
    it, and for two yardsticks on the same tensor: a copy, and one pass of torch.exp. Before a library is timed, its
    result and gradient are compared with ours; where they depart, the row says so. Some have a floor: the least that
    any implementation has to run, which shows how much faster ours could be at most (the column `limit`).

    Calls are timed in turns, forward and backward where there is a gradient; shown are medians, how many times as
    long each takes as ours (with the quartiles over the rounds), the memory beyond the inputs, and the first call,
    which compiles. Ratios compare machines better than times do.

    What does not fit into --seconds is shown as not measured. The file of --json is rewritten after every technique:
    Ctrl-C leaves what was found.

    Exit status: 0 measured; 2 wrong usage; 3 PyTorch or matplotlib is missing; 130 interrupted.
    """
    console = Console(stderr=True)
    with clear_errors():
        check_places({"--json": json_file, "--plot": plot_file})
        if plot_file is not None:
            needed("matplotlib", for_what="--plot")  # before the work, not after it
        session = _benchmarks("session")
        document: dict[str, Any] = {}

        def on_document(grown: dict[str, Any]) -> None:
            document.update(schema="steelyard-bench-1", steelyard=__version__, **grown)
            if json_file not in (None, "-"):
                write_json(json_file, document)

        def on_case(found: dict[str, Any]) -> None:
            if json_file != "-":
                Console().print(_table(found))

        try:
            session.benchmark(
                techniques=techniques or None, peers=peers or None, device=device, seconds=seconds, growth=growth,
                compiled=compiled, rounds=rounds, threads=threads, on_case=on_case, on_document=on_document,
                on_step=lambda step: console.print(step, style="dim", highlight=False),
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(str(error)) from error
        except KeyboardInterrupt:
            console.print("[bold red]interrupted: what was measured is kept")
        if json_file == "-":
            write_json(json_file, document)
        else:
            _print_summary(Console(), document)
        if plot_file is not None:
            _benchmarks("picture").draw(document, Path(plot_file))
    if not document.get("complete"):
        raise typer.Exit(EXIT_INTERRUPTED)


def _benchmarks(name: str) -> Any:  # noqa: ANN401 - a module
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler, which counts bytes, would print its stages
    try:
        return importlib.import_module(f"{BENCHMARKS}.{name}")
    except ModuleNotFoundError as error:
        raise LoadError(f"bench needs {error.name}: pip install 'steelyard[torch]'") from error


def _table(found: dict[str, Any]) -> Table:
    title = f"{found['technique']}, {found['size']}: {found['passes']}, {found['rounds']} rounds"
    table = Table(title=title, title_justify="left", caption=found["likeness"], caption_justify="left")
    for heading in ("", "median", "by ours, eager", "by ours, compiled", "memory", "first call"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in found["rows"]:
        if row["median_seconds"] is None:
            table.add_row(row["contender"], row["message"])
            continue
        memory = "" if row["peak_extra_bytes"] is None else f"{row['peak_extra_bytes'] / 2**20:,.1f} MiB"
        name = row["contender"] + (f" (departs: {row['departs']})" if row["departs"] else "")
        table.add_row(
            name,
            _duration(row["median_seconds"]),
            _ratio(row["by_eager"]),
            _ratio(row["by_compiled"]),
            memory,
            _duration(row["first_call_seconds"]),
        )
    return table


def _print_summary(console: Console, document: dict[str, Any]) -> None:
    table = Table(title="ours against the fastest library that gives the same", title_justify="left")
    for heading in ("", "fastest", "eager", "limit", "compiled", "limit", "memory by the thriftiest", "limit"):
        table.add_column(heading, justify="left" if heading in ("", "fastest") else "right")
    shown = "eager", "eager_limit", "compiled", "compiled_limit", "memory", "memory_limit"
    for case in document.get("cases", ()):
        summary = case["summary"]
        cells = ["" if summary[name] is None else f"{summary[name]:.2f}" for name in shown]
        table.add_row(f"{case['technique']}, {case['size']}", summary["fastest_peer"] or "none", *cells)
    console.print(table)
    mean = document["geometric_mean"]
    if mean["cases"] > 1:
        console.print(
            f"geometric mean over {mean['cases']}: {mean['eager']:.2f} eager"
            + (f", {mean['compiled']:.2f} compiled" if mean["compiled"] else ""),
            highlight=False,
        )
    for curve in document.get("growth", ()):
        found = "not measured" if curve["slope"] is None else f"{curve['slope']:.3f}"
        console.print(f"growth of {curve['technique']} by {curve['axis']}: slope {found}", highlight=False)
    environment = document["environment"]
    console.print(
        f"{environment['processor']}, {environment['threads']} threads, {document['seconds']:.0f} s", highlight=False
    )


def _ratio(found: dict[str, Any] | None) -> str:
    return "" if found is None else "{:.2f} ({:.2f} to {:.2f})".format(found["ratio"], *found["quartiles"])


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.2f} ms"
