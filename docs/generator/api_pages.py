"""The API reference: every public name of the three rooms, by module."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from generator.docstrings import to_markdown

ROOMS = ("reference", "impl", "conformance")
TITLES = {
    "reference": "The reference, `steelyard.reference`",
    "impl": "The implementation, `steelyard.impl`",
    "conformance": "The suite, `steelyard.conformance`",
}


def public_names(room: str) -> dict[str, Any]:
    """What a room exports: functions and classes, not the packages that hold them."""
    module = importlib.import_module(f"steelyard.{room}")
    return {
        name: value
        for name, value in sorted(vars(module).items())
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", "").startswith(f"steelyard.{room}")
    }


def links() -> dict[str, str]:
    """Name -> what a link to it names: the reference's, else the implementation's, else the suite's."""
    return {name: f"steelyard.{room}.{name}" for room in reversed(ROOMS) for name in public_names(room)}


def pages(known: Mapping[str, str]) -> dict[str, str]:
    """File name -> Markdown: a page for each room's family, and one for each room."""
    written = {}
    for room in ROOMS:
        families: dict[str, dict[str, Any]] = {}
        for name, value in public_names(room).items():
            family = value.__module__.split(".")[2] if value.__module__.count(".") > 2 else "general"
            families.setdefault(family, {})[name] = value
        toctree = "\n".join(f"{room}-{family}" for family in sorted(families))
        written[f"api/{room}.md"] = f"# {TITLES[room]}\n\n```{{toctree}}\n{toctree}\n```\n"
        for family, members in families.items():
            body = "\n\n".join(_entry(room, name, value, known) for name, value in members.items())
            title = f"`steelyard.{room}`: {family.replace('_', ' ')}"
            written[f"api/{room}-{family}.md"] = f"# {title}\n\n{body}\n"
    return written


def undocumented() -> list[str]:
    """Public names that say nothing of themselves."""
    return [
        f"steelyard.{room}.{name}"
        for room in ROOMS
        for name, value in public_names(room).items()
        if not (inspect.getdoc(value) or "").strip()
    ]


def _entry(room: str, name: str, value: Any, known: Mapping[str, str]) -> str:  # noqa: ANN401
    kind = "class" if inspect.isclass(value) else "function"
    return (
        f"::::{{py:{kind}}} steelyard.{room}.{name}{_signature(value)}\n\n"
        f"{to_markdown(value, known)}\n\nDefined in `{value.__module__}`.\n::::"
    )


def _signature(value: Any) -> str:  # noqa: ANN401
    """Names and defaults; the types are in the text."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
