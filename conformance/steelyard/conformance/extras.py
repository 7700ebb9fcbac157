"""Libraries that only some commands need, and the words that say how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

from steelyard.conformance.candidates import LoadError


def needed(module: str, *, for_what: str) -> ModuleType:
    """A library of the extra `report`, or an error that says which extra has it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise LoadError(f"{for_what} needs {error.name}: pip install 'steelyard[report]'") from error
