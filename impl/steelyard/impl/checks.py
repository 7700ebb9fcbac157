"""Checks of arguments that cost nothing: shapes, dtypes and Python numbers, never the values of a tensor.

Looking at values would wait for the device. What the specification says of values (targets are 0 or 1, labels
in range) is therefore the caller's promise here. Numbers are compared with infinity: a compiler that keeps them
symbolic (`dynamic=True`) cannot look into `math.isfinite`.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor


def float_tensor(name: str, value: Tensor, *, shape: torch.Size | None = None, of: str = "") -> Tensor:
    """A floating tensor, as it is; if a shape is given, of that shape, which is that `of` something."""
    _check_tensor(name, value)
    if not value.is_floating_point():
        raise TypeError(f"{name}: expected a floating dtype, got {value.dtype}")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{name}: expected shape {tuple(shape)} ({of}), got {tuple(value.shape)}")
    return value


def discrete_tensor(name: str, value: Tensor, *, shape: torch.Size, of: str) -> Tensor:
    """A bool or integer tensor of the given shape, which is that `of` something."""
    _check_tensor(name, value)
    if value.is_floating_point() or value.is_complex():
        raise TypeError(f"{name}: expected a bool or integer dtype, got {value.dtype}")
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {tuple(shape)} ({of}), got {tuple(value.shape)}")
    return value


def non_negative(name: str, value: float) -> float:
    """A finite number >= 0."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name}: expected a number >= 0, got {value}")
    return float(value)


def positive(name: str, value: float) -> float:
    """A finite number > 0."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name}: expected a number > 0, got {value}")
    return float(value)


def optional_fraction(name: str, value: float | None) -> float | None:
    """None, which means off, or a number in [0, 1]."""
    if value is None:
        return None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: expected None or a number in [0, 1], got {value}")
    return float(value)


def fraction(name: str, value: float) -> float:
    """A number in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    return float(value)


def optional_non_negative(name: str, value: float | None) -> float | None:
    """None, which means off, or a finite number >= 0."""
    return None if value is None else non_negative(name, value)


def one_of(name: str, value: str, names: Collection[str]) -> str:
    """One of the named choices."""
    if value not in names:
        raise ValueError(f"{name}: expected one of {', '.join(sorted(names))}, got {value!r}")
    return value


def fraction_below_one(name: str, value: float) -> float:
    """A number in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value}")
    return float(value)


def count(name: str, value: int, *, low: int = 1) -> int:
    """An int >= low."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}: expected an int >= {low}, got {value!r}")
    return value


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """float32 for the half precisions, else the tensor's own dtype."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype


def _check_tensor(name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
