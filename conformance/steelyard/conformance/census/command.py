"""`steelyard census`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.census.annotation_files import PROBLEMS, AnnotationStore, Contents
from steelyard.conformance.census.counting import DESIGNS, Design, changed
from steelyard.conformance.census.picture import census_page
from steelyard.conformance.census.tally import IMAGES_A_TASK, Tally, all_cores, census_document, take_census
from steelyard.conformance.doors import UsageError
from steelyard.conformance.exits import EXIT_INTERRUPTED, clear_errors
from steelyard.conformance.extras import needed
from steelyard.conformance.report_files import check_places, write_json, write_text

CLASSES_SHOWN = 12


def census(  # noqa: PLR0913, PLR0917 - Typer reads them as options
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Annotations in COCO format (instances_*.json).")],
    design: Annotated[str, typer.Option(help=f"Anchors and rule of {' or '.join(DESIGNS)}.")] = "retinanet",
    foreground_iou: Annotated[
        float | None, typer.Option(help="An anchor of at least this IoU with an object is foreground.")
    ] = None,
    background_iou: Annotated[
        float | None, typer.Option(help="An anchor below this IoU with every object is background.")
    ] = None,
    low_quality: Annotated[
        bool | None,
        typer.Option("--low-quality/--no-low-quality", help="The best anchors of an object are foreground anyhow."),
    ] = None,
    universe: Annotated[
        str | None, typer.Option(help="all, or inside: leave out anchors that cross the border of the image.")
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="Pixels of the shorter side after resizing.")] = None,
    long_side: Annotated[int | None, typer.Option(help="At most these pixels of the longer side.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Precision of IoUs: float32, as detectors compute, or float64.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 is one a core.")] = 0,
    html_file: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Write a page with the picture (needs steelyard[report])."),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - is standard output.")
    ] = None,
    strict: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--strict", help="Any annotation or image that had to be left out is an error (status 3).")
    ] = False,
) -> None:
    """Count background, ignored and foreground anchors of a data set, and how they spread over its classes.

    This is the picture with which a study of class imbalance begins: what a detector's assignment makes of the
    annotations alone. No image and no network is needed. Crowds are left out. Memory does not grow with the file.

    Exit status: 0 counted; 2 wrong usage; 3 the file cannot be read (or, with --strict, has problems); 130
    interrupted (what was counted is shown and written, marked as partial).
    """
    reports = {"--json": json_file, "--html": html_file}
    console = Console(stderr=True)
    with clear_errors():
        check_places(reports)
        if html_file is not None:
            for library in ("jinja2", "matplotlib"):
                needed(library, for_what="--html")  # before the work, not after it
        chosen = _design(
            design,
            foreground_iou=foreground_iou,
            background_iou=background_iou,
            low_quality=low_quality,
            universe=universe,
            short_side=short_side,
            long_side=long_side,
            dtype=dtype,
        )
        contents, tally = _count(file, chosen, workers, console, strict=strict)
        document = census_document(file.name, contents, chosen, tally)
        if html_file is not None and tally.anchors.images:
            write_text(html_file, census_page(document))
        if json_file is not None:
            write_json(json_file, document)
        if "-" not in reports.values():
            _print(Console(), document)
        if not tally.complete:
            console.print(f"[bold red]interrupted: {tally.anchors.images} of {contents.images} images were counted")
            raise typer.Exit(EXIT_INTERRUPTED)


def _design(name: str, **options: Any) -> Design:  # noqa: ANN401 - the fields of a design
    if name not in DESIGNS:
        raise UsageError(f"--design: expected one of {', '.join(DESIGNS)}, got {name!r}")
    for option, values in (("universe", ("all", "inside")), ("dtype", ("float32", "float64"))):
        if options[option] not in (None, *values):
            raise UsageError(f"--{option}: expected one of {', '.join(values)}, got {options[option]!r}")
    return changed(DESIGNS[name], **options)


def _count(file: Path, design: Design, workers: int, console: Console, *, strict: bool) -> tuple[Contents, Tally]:
    with AnnotationStore() as store:
        try:
            with _Told(console, "reading", file.stat().st_size if file.is_file() else 0, "bytes") as read:
                contents = store.read(file, read)
            for name, number in contents.problems.items():
                console.print(f"[yellow]warning:[/] {number} {PROBLEMS[name]}", highlight=False, soft_wrap=True)
            if strict and contents.problems:
                raise LoadError(f"--strict: {file} has problems; nothing was counted")
            workers = min(workers or all_cores(), -(-contents.images // IMAGES_A_TASK))
            with _Told(console, "counting", contents.images, "images") as counted:
                tally = take_census(store.images(), design, len(contents.categories), workers=workers, progress=counted)
        except KeyboardInterrupt:
            console.print("[bold red]interrupted while reading: nothing was counted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
    return contents, tally


class _Told:
    """How far the work is: a bar on a terminal, a line a tenth elsewhere. A context manager, called with each step."""

    def __init__(self, console: Console, what: str, total: int, unit: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=total)
        self._console, self._what, self._total, self._unit = console, what, total, unit
        self._done = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, number: int) -> None:
        self._bar.advance(self._task, number)
        before, self._done = self._done, self._done + number
        if not self._console.is_terminal and before * 10 // self._total != self._done * 10 // self._total:
            self._console.print(f"{self._what}: {self._done:,} of {self._total:,} {self._unit}", highlight=False)


def _print(console: Console, document: dict[str, Any]) -> None:
    images = document["images"]
    table = Table(title=f"{document['file']}: {images:,} images, {document['objects']:,} objects", title_justify="left")
    for heading in ("", "background", "ignored", "foreground"):
        table.add_column(heading, justify="right" if heading else "left")
    kinds = ("background", "ignored", "foreground")
    for row in document["levels"]:
        table.add_row(row["level"], *(f"{row[kind]:,}" for kind in kinds))
    table.add_section()
    table.add_row("all", *(f"{document[kind]:,}" for kind in kinds), style="bold")
    table.add_row("an image", *(f"{document[kind] / max(images, 1):,.2f}" for kind in kinds))
    console.print(table)
    ratio = document["background_to_foreground"]
    console.print(f"background : foreground = {_shown(ratio)} : 1", highlight=False)
    for counted, title in (("foreground", "foreground anchors by class"), ("objects", "objects by class")):
        found = document["indices"][counted]
        console.print(
            f"{title}: imbalance ratio {_shown(found['imbalance_ratio'])}"
            f" ({_shown(found['imbalance_ratio_of_present_classes'])} of the classes present),"
            f" normalised entropy {_shown(found['normalised_entropy'])}, Gini {_shown(found['gini_coefficient'])}",
            highlight=False,
        )
    classes = sorted(document["classes"], key=lambda row: (-row["foreground"], -row["objects"], row["id"]))
    by_class = Table(title="classes with the most foreground anchors", title_justify="left")
    for heading in ("class", "foreground", "an image", "objects", "images"):
        by_class.add_column(heading, justify="left" if heading == "class" else "right")
    for row in classes[:CLASSES_SHOWN]:
        each = f"{row['foreground'] / max(images, 1):,.3f}"
        by_class.add_row(row["name"], f"{row['foreground']:,}", each, f"{row['objects']:,}", f"{row['images']:,}")
    console.print(by_class)
    if len(classes) > CLASSES_SHOWN:
        absent = sum(row["foreground"] == 0 for row in classes)
        console.print(f"{len(classes) - CLASSES_SHOWN} more classes, {absent} without a foreground anchor: see --json")


def _shown(value: float | str | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:,.4g}" if isinstance(value, float) else value
