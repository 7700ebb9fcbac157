"""Pages like notebooks: the Python blocks of a page run one after another in one namespace.

`docs/walkthrough.md` is one. Its tests compare what each block prints with the text below it, and the site's figures
are those that the last block leaves in `figures`: page, test and picture come from one run.
"""

from __future__ import annotations

import re
from contextlib import chdir, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

HERE = Path(__file__).parent
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Cell(NamedTuple):
    """A block that ran."""

    code: str
    printed: str
    shown: str
    """What the page says that it prints; empty if it says nothing."""


@cache
def run(name: str, first: int | None = None) -> tuple[tuple[Cell, ...], dict[str, Any]]:
    """The Python blocks of docs/NAME.md in order, or the `first` of them, and the names that they leave."""
    blocks = BLOCK.findall((HERE / f"{name}.md").read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": name}
    cells = []
    with TemporaryDirectory() as folder, chdir(folder):
        for (language, code), (below, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
            if language == "python" and (first is None or len(cells) < first):
                with redirect_stdout(StringIO()) as printed:
                    exec(compile(code, f"{name}.md", "exec"), names)  # noqa: S102 - a page of this project
                cells.append(Cell(code, printed.getvalue(), shown if below == "text" else ""))
    return tuple(cells), names
