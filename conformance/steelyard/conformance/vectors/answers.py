"""Reading what a program answered to vectors: a file, or a directory of files, of JSON.

A file holds JSON lines or one JSON list; each entry answers one case:

    {"case": "sigmoid_focal_loss-0000", "outputs": {"loss": [0.25, 1.5]}, "gradients": {"logits": [0.1, "nan"]}}
    {"case": "sigmoid_focal_loss-0001", "skip": "no option alpha"}

An array is a nested list, or the form of `encoding`; a float is a JSON number, or a text in hexadecimal or decimal.
The JSON Schema of an entry is `schemas/vectors-answer.json` in the package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.contract import Array
from steelyard.conformance.encoding import EncodingError, decode_array, decode_float

_SUFFIXES = (".json", ".jsonl")
_FIELDS = {"case", "outputs", "gradients", "skip"}


@dataclass(frozen=True)
class Answer:
    """What a program answered to one case."""

    place: str
    """File and line, for messages."""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """Arrays as they stand in the file: one that cannot be read fails its case, not the run."""
    gradients: Mapping[str, Any] = field(default_factory=dict)
    skip: str | None = None
    """Why the program does not answer."""


def read_answers(results: Path) -> dict[str, Answer]:
    """All answers of a file or directory, by case."""
    if results.is_dir():
        files = sorted(path for path in results.iterdir() if path.suffix in _SUFFIXES)
    elif results.exists():
        files = [results]
    else:
        raise LoadError(f"{results}: no such file or directory")
    found: dict[str, Answer] = {}
    for path in files:
        for place, entry in _entries(path):
            case, answer = _answer(place, entry)
            if case in found:
                raise LoadError(f"{place}: {case} is answered twice, before in {found[case].place}")
            found[case] = answer
    return found


def decode_answer(document: Any) -> Array:  # noqa: ANN401
    """An array in any form that an answer may have; raises `EncodingError`."""
    if isinstance(document, Mapping):
        return decode_array(document)
    elements: list[Any] = []
    shape = _flatten(document, elements, "")
    if all(isinstance(element, bool) for element in elements) and elements:
        return np.array(elements, dtype=np.bool_).reshape(shape)
    if all(isinstance(element, int) for element in elements) and elements:
        try:
            return np.array(elements, dtype=np.int64).reshape(shape)
        except OverflowError as error:
            raise EncodingError("an integer does not fit into 64 bits") from error
    return np.array([decode_float(element) for element in elements], dtype=np.float64).reshape(shape)


def _flatten(node: Any, elements: list[Any], place: str) -> tuple[int, ...]:  # noqa: ANN401
    """Shape of a nested list; its elements in row-major order are added to `elements`."""
    if not isinstance(node, list):
        elements.append(node)
        return ()
    shapes = [_flatten(child, elements, f"{place}[{number}]") for number, child in enumerate(node)]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise EncodingError(f"{place}[{number}]: expected the shape of its neighbour {shapes[0]}, got {shape}")
    return (len(node), *(shapes[0] if shapes else ()))


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and document of each entry of a file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}; expected the answers of your program") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8: {error}") from error
    if text.lstrip().startswith("["):
        for number, entry in enumerate(_json(str(path), text), 1):
            yield f"{path} entry {number}", entry
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            place = f"{path} line {number}"
            yield place, _json(place, line)


def _json(place: str, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits is a plain ValueError
        raise LoadError(f"{place}: not JSON: {error}") from error


def _answer(place: str, entry: Any) -> tuple[str, Answer]:  # noqa: ANN401
    if not isinstance(entry, Mapping) or not isinstance(entry.get("case"), str):
        raise LoadError(f'{place}: expected an object such as {{"case": ..., "outputs": ...}}')
    if unknown := set(entry) - _FIELDS:
        raise LoadError(f"{place}: unknown field {min(unknown)!r}; known are {', '.join(sorted(_FIELDS))}")
    for name in ("outputs", "gradients"):
        if not isinstance(entry.get(name, {}), Mapping):
            raise LoadError(f"{place}: {name}: expected an object of arrays by name")
    skip = entry.get("skip")
    if skip is not None and not (isinstance(skip, str) and skip):
        raise LoadError(f"{place}: skip: expected the reason as a text")
    if skip is not None and set(entry) - {"case", "skip"}:
        raise LoadError(f"{place}: skip: expected no answer beside it")
    return entry["case"], Answer(place, entry.get("outputs", {}), entry.get("gradients", {}), skip)
