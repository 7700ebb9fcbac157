"""`steelyard vectors`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from steelyard.conformance import reporting
from steelyard.conformance.doors import UsageError
from steelyard.conformance.encoding import FLOAT_FORMS
from steelyard.conformance.exits import clear_errors
from steelyard.conformance.precision import PRECISIONS
from steelyard.conformance.registry import TECHNIQUES, technique
from steelyard.conformance.report_files import check_places, write_json
from steelyard.conformance.vectors.verifying import read_manifest, verify_vectors
from steelyard.conformance.vectors.writing import BYTES_A_CASE, CASES, Vectors, write_vectors

vectors = typer.Typer(
    name="vectors",
    no_args_is_help=True,
    help="Frozen inputs with right answers, for programs in any language: write, answer with your program, verify.",
)

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the vectors.")]


@vectors.command()
def write(
    directory: DirectoryArgument,
    techniques: Annotated[
        list[str] | None, typer.Option("--technique", "-t", metavar="ID", help="Only this technique; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same inputs, on any machine.")] = 0,
    cases: Annotated[
        int, typer.Option(min=1, help=f"Of each technique at most; a file has about {BYTES_A_CASE} bytes for each.")
    ] = CASES,
    dtypes: Annotated[list[str] | None, typer.Option("--dtype", help="Only this precision; may be repeated.")] = None,
    floats: Annotated[
        str, typer.Option(help="number: JSON numbers; decimal, hex: texts, hexadecimal ones as in C99. All are exact.")
    ] = "number",
) -> None:
    """Write inputs, the right answers, and how far an answer may be from them, into a new directory."""
    console = Console()
    with clear_errors():
        _one_of("--floats", floats, FLOAT_FORMS)
        for dtype in dtypes or ():
            _one_of("--dtype", dtype, tuple(PRECISIONS))
        chosen = [technique(technique_id) for technique_id in dict.fromkeys(techniques or TECHNIQUES)]
        sizes = []

        def on_technique(made: Vectors) -> None:
            sizes.append(len(made.content))
            console.print(f"{made.file}: {len(made.lines)} cases, {len(made.content)} bytes", highlight=False)

        write_vectors(
            directory, chosen, seed=seed, count=cases, dtypes=tuple(dtypes or PRECISIONS), floats=floats,
            on_technique=on_technique,
        )  # fmt: skip
        console.print(f"{directory}: {len(sizes)} techniques, {sum(sizes) / 1e6:.2f} MB", highlight=False)


@vectors.command()
def verify(
    directory: DirectoryArgument,
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="What your program answered: a file of JSON, or a directory.")
    ],
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON as `check` does; - is standard output.")
    ] = None,
) -> None:
    """Judge a program's answers to the vectors in DIR.

    Exit status: 0 every MUST holds; 1 one does not, or an answer is missing, or there are none; 2 wrong usage, or the
    vectors were changed; 3 the answers cannot be read.
    """
    console = Console(stderr=json_file == "-")
    with clear_errors():
        check_places({"--json": json_file})
        result = verify_vectors(directory, results)
        for judged in result.techniques:
            if judged.requirements:
                console.print(judged.id, style="bold", highlight=False)
            for found in judged.requirements:
                console.print(reporting.requirement_line(found), soft_wrap=True)
        reporting.print_result(console, result, TECHNIQUES)
        absent = len(read_manifest(directory)["techniques"]) - len(result.techniques)
        if absent:
            console.print(f"{absent} techniques of {directory} are not in {results}", highlight=False)
        if json_file is not None:
            write_json(json_file, result.to_json())
    raise typer.Exit(result.exit_status)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option}: expected one of {', '.join(allowed)}, got {value!r}")
