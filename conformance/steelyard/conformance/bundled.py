"""The bundled adapters: which libraries they adapt, for which techniques, and whether those are installed.

Nothing is imported to find out: an adapter's text says what it defines, the installation's metadata what there is.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steelyard.conformance.loading import BUNDLED
from steelyard.conformance.registry import TECHNIQUES


@dataclass(frozen=True)
class BundledAdapter:
    """One adapter of the package."""

    name: str
    """Of the adapter, which is that of the module it imports."""
    library: str
    """Of the distribution, as it is installed by; the module's own name where it is not installed."""
    installed: str | None
    """Version; None where the library is absent."""
    techniques: tuple[str, ...]
    known: tuple[str, ...]
    """Techniques with known failures."""


def bundled_adapters() -> list[BundledAdapter]:
    """All of them, by name."""
    distributions = importlib.metadata.packages_distributions()
    return [_described(file, distributions) for file in sorted(BUNDLED.glob("[!_]*.py"))]


def _described(file: Path, distributions: Mapping[str, list[str]]) -> BundledAdapter:
    name = file.stem
    owners = distributions.get(name, [])
    found = importlib.util.find_spec(name) is not None
    version = importlib.metadata.version(owners[0]) if found and owners else None
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = set(_names(tree))
    known = _known(tree)
    for part in BUNDLED.glob(f"_{name}_*.py"):  # a large adapter's parts, whose functions it imports
        known |= _known(ast.parse(part.read_text(encoding="utf-8")))
    return BundledAdapter(
        name=name,
        library=owners[0] if owners else name,
        installed=version if version is not None or not found else "unknown version",
        techniques=tuple(id_ for id_ in TECHNIQUES if id_ in defined),
        known=tuple(id_ for id_ in TECHNIQUES if id_ in known),
    )


def _names(tree: ast.Module) -> Iterator[str]:
    """What a module defines, assigns or imports at its top level."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, ast.Assign):
            yield from (node.id for node in statement.targets if isinstance(node, ast.Name))


def known_entries(tree: ast.Module) -> Iterator[dict[str, str]]:
    """The entries of an adapter's KNOWN, as they are when it is loaded: the dictionaries with a technique.

    An entry may stand in a loop over names of requirements, or over pairs of technique and requirement.
    """
    loops = {id(node.elt): node for node in ast.walk(tree) if isinstance(node, ast.GeneratorExp)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            entry = {ast.literal_eval(key): value for key, value in zip(node.keys, node.values, strict=True) if key}
            if "technique" in entry:
                for bound in _rounds(loops.get(id(node))):
                    yield {name: _value(value, bound) for name, value in entry.items()}


def _rounds(loop: ast.GeneratorExp | None) -> Iterator[dict[str, str]]:
    """The loop's names in each of its rounds; without a loop one round, and no name."""
    if loop is None:
        yield {}
        return
    (generator,) = loop.generators
    target = generator.target
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    for item in ast.literal_eval(generator.iter):
        values = item if isinstance(target, ast.Tuple) else (item,)
        yield {name.id: value for name, value in zip(names, values, strict=True) if isinstance(name, ast.Name)}


def _value(node: ast.expr, bound: Mapping[str, str]) -> str:
    return bound[node.id] if isinstance(node, ast.Name) else str(ast.literal_eval(node))


def _known(tree: ast.Module) -> set[str]:
    """The techniques that the entries of KNOWN name."""
    return {entry["technique"] for entry in known_entries(tree)}
