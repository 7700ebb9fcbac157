"""Arrays, options and cases as JSON, exact to the last bit: for case files, programs and frozen vectors.

An array is `{"kind": "float", "shape": [2], "data": ["0x1.8p+1", "-inf"]}`: what its elements are (float, int, bool),
its shape, and its elements in row-major order. Floats are written as C99 hexadecimal strings, which lose nothing and
which most languages read; whoever cannot may ask for decimal strings or for JSON numbers, both with the 17 digits that
a float64 needs. Infinities and NaN are strings in every form. Every form is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array, Case, OptionValue

FLOAT_FORMS = ("hex", "decimal", "number")
FLOAT_TEXT = (
    r"^[+-]?(0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?"
    r"|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|inf|Inf|INF|[iI]nfinity|nan|NaN|NAN)$"
)
"""A float as a string; the JSON Schemas say the same."""

_FLOAT_TEXT = re.compile(FLOAT_TEXT)
_KINDS = {"float": np.float64, "int": np.int64, "bool": np.bool_}
_KIND_OF = {"f": "float", "i": "int", "b": "bool"}
_TEXT_SHOWN = 40


class EncodingError(ValueError):
    """A document is not the JSON form of an array or a case; the message says where."""


def encode_array(values: Array, floats: str = "hex") -> dict[str, Any]:
    """An array as JSON, its floats in one of `FLOAT_FORMS`."""
    kind = _KIND_OF[values.dtype.kind]
    flat = values.ravel().tolist()
    data = [encode_float(value, floats) for value in flat] if kind == "float" else flat
    return {"kind": kind, "shape": list(values.shape), "data": data}


def decode_array(document: Any) -> Array:  # noqa: ANN401
    """The inverse of `encode_array`."""
    if not isinstance(document, Mapping):
        raise EncodingError(f"expected an array as an object with kind, shape and data, got {_shown(document)}")
    kind, shape, data = document.get("kind"), document.get("shape"), document.get("data")
    if kind not in _KINDS:
        raise EncodingError(f"kind: expected one of {', '.join(_KINDS)}, got {_shown(kind)}")
    if not isinstance(shape, list) or not all(_is_int(length) and length >= 0 for length in shape):
        raise EncodingError(f"shape: expected a list of lengths, got {_shown(shape)}")
    if not isinstance(data, list):
        raise EncodingError(f"data: expected a list, got {_shown(data)}")
    if len(data) != math.prod(shape):
        raise EncodingError(f"data: expected {math.prod(shape)} elements for shape {tuple(shape)}, got {len(data)}")
    elements = [_decode_element(kind, position, element) for position, element in enumerate(data)]
    try:
        return np.array(elements, dtype=_KINDS[kind]).reshape(shape)
    except OverflowError as error:
        raise EncodingError("data: an integer does not fit into 64 bits") from error
    except ValueError as error:  # no element, but more axes or longer ones than an array can have
        raise EncodingError(f"shape: {error}") from error


def encode_float(value: float, form: str = "hex") -> str | float:
    """A float in one of `FLOAT_FORMS`."""
    if not math.isfinite(value):
        return str(value)
    if form != "hex":
        return repr(value) if form == "decimal" else value
    mantissa, p, exponent = value.hex().partition("p")
    return mantissa.rstrip("0").rstrip(".") + p + exponent


def decode_float(value: Any) -> float:  # noqa: ANN401
    """The inverse of `encode_float`, whatever the form."""
    if isinstance(value, str) and _FLOAT_TEXT.match(value):
        try:
            return float.fromhex(value) if "x" in value.lower() else float(value)
        except OverflowError:
            return -math.inf if value.startswith("-") else math.inf
    if isinstance(value, float) or _is_int(value):
        try:
            return float(value)
        except OverflowError:
            return math.copysign(math.inf, value)
    raise EncodingError(f'expected a number or a text such as "0x1.8p+1", "nan" or "-inf", got {_shown(value)}')


def encode_option(value: OptionValue, floats: str = "hex") -> OptionValue | dict[str, str | float]:
    """An option as JSON; a float is marked as one, for 2.0 would else be read as an integer."""
    return {"float": encode_float(value, floats)} if isinstance(value, float) else value


def decode_option(value: Any) -> OptionValue:  # noqa: ANN401
    """The inverse of `encode_option`."""
    if isinstance(value, Mapping):
        if set(value) != {"float"}:
            raise EncodingError(f'expected a value or {{"float": ...}}, got {_shown(value)}')
        return decode_float(value["float"])
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise EncodingError(f"expected null, a boolean, a number or a text, got {_shown(value)}")


def encode_case(case: Case, floats: str = "hex") -> dict[str, Any]:
    """A case as JSON."""
    return {
        "dtype": case.dtype,
        "arguments": {name: encode_array(values, floats) for name, values in case.arguments.items()},
        "options": {name: encode_option(value, floats) for name, value in case.options.items()},
        "cotangent": None if case.cotangent is None else encode_array(np.asarray(case.cotangent), floats),
    }


def decode_case(document: Mapping[str, Any]) -> Case:
    """The inverse of `encode_case`."""
    cotangent = document.get("cotangent")
    return Case(
        {name: decode_array(values) for name, values in document["arguments"].items()},
        {name: decode_option(value) for name, value in document["options"].items()},
        document["dtype"],
        None if cotangent is None else decode_array(cotangent),
    )


def _decode_element(kind: str, position: int, element: Any) -> float | int | bool:  # noqa: ANN401
    try:
        if kind == "float":
            return decode_float(element)
    except EncodingError as error:
        raise EncodingError(f"data[{position}]: {error}") from error
    if kind == "int" and _is_int(element):
        return int(element)
    if kind == "bool" and isinstance(element, bool):
        return element
    wanted = "an integer" if kind == "int" else "true or false"
    raise EncodingError(f"data[{position}]: expected {wanted}, got {_shown(element)}")


def _is_int(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}..."
