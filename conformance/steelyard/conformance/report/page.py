"""The matrix as one self-contained page: no network, light and dark, by mouse, keyboard or paper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steelyard.conformance.extras import needed
from steelyard.conformance.report.matrix import matrix
from steelyard.conformance.results import Result
from steelyard.conformance.version import __version__

_HERE = Path(__file__).parent


def report_page(results: Sequence[tuple[Path, Result]], *, docs: str | None = None, date: str | None = None) -> str:
    """HTML of the matrix.

    Parameters
    ----------
    results : sequence of (path, Result)
        Case files are looked for beside the path, and where the program runs.
    docs : str, optional
        Address of the documentation: technique names become links to ``DOCS/techniques/ID.html``.
    date : str, optional
        The day that the page names; today in UTC by default.
    """
    jinja2 = needed("jinja2", for_what="--html")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((_HERE / "report.html.jinja").read_text(encoding="utf-8"))
    data = matrix(results)
    return str(
        template.render(
            data=data,
            data_json=_embedded({**data, "docs": docs}),
            style=(_HERE / "report.css").read_text(encoding="utf-8"),
            script=(_HERE / "report.js").read_text(encoding="utf-8"),
            families=_in_order(technique["family"] for technique in data["techniques"]),
            kinds=_in_order(r["kind"] for t in data["techniques"] for r in t["requirements"].values()),
            levels=("MUST", "SHOULD", "MAY"),
            version=__version__,
            date=date or datetime.now(tz=UTC).date().isoformat(),
        )
    )


def _in_order(names: Any) -> list[str]:  # noqa: ANN401 - an iterable of str
    return list(dict.fromkeys(names))


def _embedded(document: dict[str, Any]) -> str:
    """JSON that can stand in a script element whatever a candidate's message says."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
