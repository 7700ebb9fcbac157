"""Files that a command writes: whether they can be written, and writing them whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from steelyard.conformance.doors import UsageError


def check_places(reports: Mapping[str, str | None]) -> None:
    """Refuse before the work what could not be written after it."""
    wanted = [option for option, file in reports.items() if file == "-"]
    if len(wanted) > 1:
        raise UsageError(f"{wanted[1]}: standard output is taken by {wanted[0]}; give a FILE")
    for option, file in reports.items():
        if file is not None and not Path(file).resolve().parent.is_dir():
            raise UsageError(f"{option}: no directory {Path(file).parent}")


def write_json(file: str, document: Any, *, indent: int | None = 1) -> None:  # noqa: ANN401
    """Write a document as JSON without NaN; "-" is standard output."""
    write_text(file, json.dumps(document, indent=indent, allow_nan=False))


def write_text(file: str, text: str) -> None:
    """Write a text with one line break at its end; "-" is standard output."""
    text = text.rstrip("\n")
    if file == "-":
        typer.echo(text)
        return
    path = Path(file).resolve()
    if path.exists() and not path.is_file():  # a pipe or a device
        path.write_text(text + "\n", encoding="utf-8")
        return
    beside = path.with_name(f".{path.name}.part")  # whoever reads the file sees the old content or the new one
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)
