"""JSON Schemas (draft 2020-12) of all that the suite reads and writes; the files lie in `schemas/`.

They are for whoever works with these documents in another language, for the suite's tests, which hold real output
against them, and for reading what others wrote: a document that does not fit gets one clear line.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "schemas"
_SHOWN = 200


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema of this name: result, case, known-failures, ... (`schemas/NAME.json`)."""
    document: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return document


def violation(document: Any, name: str) -> str:  # noqa: ANN401
    """Where and how a document departs from a schema, in one line; empty if it fits."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only where foreign documents are read
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    error = best_match(Draft202012Validator(schema(name)).iter_errors(document))
    if error is None:
        return ""
    message = error.message if len(error.message) <= _SHOWN else f"{error.message[:_SHOWN]}..."
    return f"{error.json_path}: {message}"
