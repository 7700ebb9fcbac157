"""What is known of real libraries: the matrix, the adapters' lists of known failures, the deviations' pages."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from steelyard.conformance.bundled import known_entries
from steelyard.conformance.loading import BUNDLED

DOCS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Known:
    """A requirement that a library does not meet."""

    library: str
    technique: str
    requirement: str
    reason: str
    url: str


def known_failures() -> list[Known]:
    """All entries of the adapters' lists, read without importing a library."""
    found = []
    for file in sorted(BUNDLED.glob("*.py")):
        library = re.sub(r"^_(\w+?)_.*$", r"\1", file.stem)
        for entry in known_entries(ast.parse(file.read_text(encoding="utf-8"))):
            said = (entry["technique"], entry["requirement"], entry["reason"], entry.get("url", ""))
            found.append(Known(library, *said))
    return found


def verdicts() -> dict[str, dict[str, str]]:
    """Technique -> library -> verdict, from the table of docs/matrix.md."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in (DOCS / "matrix.md").read_text(encoding="utf-8").split("\n")
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    head, *body = rows
    return {
        row[0]: {library: verdict for library, verdict in zip(head[1:], row[1:], strict=False) if verdict}
        for row in body
    }


def pages() -> dict[str, list[tuple[str, str]]]:
    """Technique -> pages of docs/deviations about it, each its file's name and title."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file in sorted((DOCS / "deviations").glob("*.md")):
        text = file.read_text(encoding="utf-8")
        about = re.search(r"^\| requirements \| (.*) \|$", text, re.MULTILINE)
        if about is not None:
            title = text.partition("\n")[0].removeprefix("# ")
            for technique in {entry.split()[0] for entry in about[1].split(";") if entry.strip()}:
                found.setdefault(technique, []).append((file.name, title))
    return found
