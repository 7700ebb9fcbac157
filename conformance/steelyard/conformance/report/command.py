"""`steelyard report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.conformance.exits import clear_errors
from steelyard.conformance.report.matrix import read_results
from steelyard.conformance.report.page import report_page
from steelyard.conformance.report_files import check_places, write_text


def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT.json...", help="Files of `steelyard check --json`.")],
    html_file: Annotated[str, typer.Option("--html", metavar="FILE", help="The page; - is standard output.")],
    docs: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of the documentation, for links to its pages.")
    ] = None,
    date: Annotated[str | None, typer.Option(metavar="DAY", help="Of the page; default: today.")] = None,
) -> None:
    """Show several candidates side by side: one self-contained page (needs the extra steelyard[report]).

    Rows are techniques, columns candidates in the order given. Run `report` where the checks were run: the scripts of
    failing cases (--cases of `check`) are taken into the page.

    Exit status: 0 written; 2 wrong usage; 3 a file is not a result.
    """
    with clear_errors():
        check_places({"--html": html_file})
        write_text(html_file, report_page(read_results(results), docs=docs, date=date))
