"""The API reference: every public name of the three rooms, by module.

Public are the names that a room exports, the classes that its functions return or a training loop holds, and of the
suite also what a contract is written with and the real data of the guides.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from types import ModuleType
from typing import Any

from generator.docstrings import plain, to_markdown

ROOMS = ("reference", "impl", "conformance")
TITLES = {
    "reference": "The reference, `steelyard.reference`",
    "impl": "The implementation, `steelyard.impl`",
    "conformance": "The suite, `steelyard.conformance`",
}


OF_THE_SUITE = ("contract", "results", "generation", "real_data", "hard_sampling.real_proposals")
"""Modules of the suite that others write contracts, readers of results and experiments with."""
BESIDE_CHECK = ("loading.Target", "isolation.Limits", "known_failures.KnownFailure", "running.Listener")
"""What the arguments of `check` are made of."""


def public_names(room: str) -> dict[str, Any]:
    """What a reader may use of a room: its name as one imports it from the room -> the function or class."""
    package = importlib.import_module(f"steelyard.{room}")
    found = {name: getattr(package, name) for name in dir(package)}
    for module in _modules(room, package):
        inside = module.__name__.removeprefix(f"steelyard.{room}.")
        exported = {id(value) for value in found.values()}
        found |= {
            f"{inside}.{name}": value
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__
            and (inspect.isclass(value) or room == "conformance")
            and id(value) not in exported
        }
    if room == "conformance":
        found |= {name: _of_the_suite(name) for name in BESIDE_CHECK}
    return {
        name: value
        for name, value in sorted(found.items())
        if not name.rpartition(".")[2].startswith("_")
        and callable(value)
        and getattr(value, "__module__", "").startswith(f"steelyard.{room}")
    }


def _of_the_suite(name: str) -> Any:  # noqa: ANN401
    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(f"steelyard.conformance.{module}"), own)


def _modules(room: str, package: ModuleType) -> Iterator[ModuleType]:
    if room == "conformance":
        yield from (importlib.import_module(f"steelyard.{room}.{name}") for name in OF_THE_SUITE)
    else:
        walked = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        yield from (importlib.import_module(module.name) for module in walked)


def links() -> dict[str, str]:
    """Name -> what a link to it names: the reference's, else the implementation's, else the suite's."""
    return {
        name.rpartition(".")[2]: f"steelyard.{room}.{name}" for room in reversed(ROOMS) for name in public_names(room)
    }


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
    said = [to_markdown(value, known), *_members(value), f"Defined in `{value.__module__}`."]
    return f"::::{{py:{kind}}} steelyard.{room}.{name}{_signature(value)}\n\n" + "\n\n".join(said) + "\n::::"


def _members(value: Any) -> list[str]:  # noqa: ANN401
    """Fields and methods of a class, as its source has them."""
    if not inspect.isclass(value):
        return []
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    assert isinstance(definition, ast.ClassDef)
    fields, methods = [], []
    for node, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            kind = f" : `{ast.unparse(node.annotation)}`" if isinstance(node, ast.AnnAssign) else ""
            fields.append((ast.unparse(target), kind, _text(after)))
        elif isinstance(node, ast.FunctionDef):
            arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
            called = "" if node.decorator_list else f"({arguments})"
            methods.append((node.name, called, ast.get_docstring(node) or ""))
    return [
        f"**{title}**\n\n"
        + "\n".join(
            f"- **{plain(name)}**{more}" + (f": {plain(' '.join(said.split()))}" if said else "")
            for name, more, said in own
        )
        for title, listed in (("Fields", fields), ("Methods", methods))
        if (own := [entry for entry in listed if not entry[0].startswith("_")])
    ]


def _text(node: ast.AST | None) -> str:
    said = node.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
    return said.value if said is not None and isinstance(said.value, str) else ""


def _signature(value: Any) -> str:  # noqa: ANN401
    """Names and defaults; the types are in the text. The members of an enumeration are its own list."""
    if inspect.isclass(value) and issubclass(value, Enum):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
