"""Checks of arguments: every specification function calls these first.

Each check returns the argument as the float64, int64 or bool array (or number) that the formula uses,
and raises `SpecError` with the argument's name, what was expected and what came.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


class SpecError(ValueError):
    """An argument is outside what the specification defines."""


def float_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Float:
    """Real numbers of any kind as float64; infinities and NaN are let through."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise SpecError(f"{name}: expected real numbers, got dtype {array.dtype}")
    _check_shape(name, array, shape)
    return array.astype(np.float64)


def finite_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Float:
    """Real numbers as float64, each finite."""
    array = float_array(name, value, shape=shape)
    if not np.isfinite(array).all():
        index, bad = _first(array, ~np.isfinite(array))
        raise SpecError(f"{name}: expected finite numbers, got {bad} at {index}")
    return array


def count_vector(name: str, value: ArrayLike) -> Float:
    """Counts or weights of at least one class, one axis of finite numbers >= 0, as float64."""
    array = finite_array(name, value)
    if array.ndim != 1 or array.size == 0 or (array < 0).any():
        raise SpecError(f"{name}: expected one axis of at least one number, each >= 0, got {array}")
    return array


def fraction_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Float:
    """Real numbers in [0, 1] as float64."""
    array = float_array(name, value, shape=shape)
    inside = (array >= 0.0) & (array <= 1.0)
    if not inside.all():
        index, bad = _first(array, ~inside)
        raise SpecError(f"{name}: expected numbers in [0, 1], got {bad} at {index}")
    return array


def box_array(name: str, value: ArrayLike) -> Float:
    """Boxes as float64 of shape (N, 4), each number finite; an empty list is (0, 4)."""
    boxes = finite_array(name, value)
    if boxes.shape == (0,):
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise SpecError(f"{name}: expected shape (N, 4), got {boxes.shape}")
    return boxes


def image_size_array(name: str, value: ArrayLike) -> Float:
    """Height and width of an image, each a finite number >= 0."""
    size = finite_array(name, value, shape=(2,))
    if (size < 0).any():
        raise SpecError(f"{name}: expected a height and a width >= 0, got {size.tolist()}")
    return size


def binary_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Int:
    """Targets that are 0 or 1 (bool, int, or a float of exactly that value) as int64."""
    array = np.asarray(value)
    _check_shape(name, array, shape)
    allowed = (array == 0) | (array == 1)
    if not allowed.all():
        index, bad = _first(array, ~allowed)
        raise SpecError(f"{name}: expected 0 or 1, got {bad} at {index}")
    return array.astype(np.int64)


def key_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Float:
    """Uniform random numbers in [0, 1), one a candidate: shape (..., N)."""
    key = float_array(name, value, shape=shape)
    if key.ndim == 0:
        raise SpecError(f"{name}: expected shape (..., N), got ()")
    if not ((key >= 0.0) & (key < 1.0)).all():
        raise SpecError(f"{name}: expected numbers in [0, 1), got one outside or NaN")
    return key


def bool_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Bool:
    """A mask: bool, or integers that are 0 or 1."""
    return binary_array(name, value, shape=shape).astype(np.bool_)


def mask_array(name: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Bool:
    """A mask; None stands for one that is True everywhere."""
    return np.ones(shape, dtype=np.bool_) if value is None else bool_array(name, value, shape=shape)


def int_array(
    name: str,
    value: ArrayLike,
    *,
    low: int | None = None,
    high: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> Int:
    """Integers in [low, high] (both ends belong to it) as int64."""
    array = np.asarray(value)
    if array.size == 0:  # an empty list arrives as float64
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise SpecError(f"{name}: expected integers, got dtype {array.dtype}")
    _check_shape(name, array, shape)
    outside = np.zeros(array.shape, dtype=np.bool_)
    if low is not None:
        outside |= array < low
    if high is not None:
        outside |= array > high
    if outside.any():
        index, bad = _first(array, outside)
        raise SpecError(f"{name}: expected integers in [{low}, {high}], got {bad} at {index}")
    return array.astype(np.int64)


def label_array(name: str, value: ArrayLike, *, num_classes: int, shape: tuple[int, ...] | None = None) -> Int:
    """Class ids: 0..C-1 foreground, C background, -1 ignore."""
    return int_array(name, value, low=-1, high=num_classes, shape=shape)


def level_array(value: ArrayLike | None, num_levels: int, shape: tuple[int, ...]) -> Int:
    """Pyramid level of each candidate, in [0, num_levels); None stands for level 0."""
    if value is None:
        return np.zeros(shape, dtype=np.int64)
    return int_array("levels", value, low=0, high=num_levels - 1, shape=shape)


def real_number(name: str, value: float) -> float:
    """A finite number."""
    number = _number(name, value)
    if not np.isfinite(number):
        raise SpecError(f"{name}: expected a finite number, got {value}")
    return number


def non_negative(name: str, value: float) -> float:
    """A finite number >= 0."""
    number = real_number(name, value)
    if number < 0:
        raise SpecError(f"{name}: expected a number >= 0, got {value}")
    return number


def positive(name: str, value: float) -> float:
    """A finite number > 0."""
    number = real_number(name, value)
    if number <= 0:
        raise SpecError(f"{name}: expected a number > 0, got {value}")
    return number


def fraction(name: str, value: float) -> float:
    """A number in [0, 1]."""
    number = real_number(name, value)
    if not 0.0 <= number <= 1.0:
        raise SpecError(f"{name}: expected a number in [0, 1], got {value}")
    return number


def optional_fraction(name: str, value: float | None) -> float | None:
    """None, which means off, or a number in [0, 1]."""
    if value is None:
        return None
    number = real_number(name, value)
    if not 0.0 <= number <= 1.0:
        raise SpecError(f"{name}: expected None or a number in [0, 1], got {value}")
    return number


def optional_non_negative(name: str, value: float | None) -> float | None:
    """None, whose meaning the formula says, or a finite number >= 0."""
    return None if value is None else non_negative(name, value)


def fraction_below_one(name: str, value: float) -> float:
    """A number in [0, 1)."""
    number = real_number(name, value)
    if not 0.0 <= number < 1.0:
        raise SpecError(f"{name}: expected a number in [0, 1), got {value}")
    return number


def probability_inside(name: str, value: float) -> float:
    """A number in the open interval (0, 1)."""
    number = real_number(name, value)
    if not 0.0 < number < 1.0:
        raise SpecError(f"{name}: expected a number strictly between 0 and 1, got {value}")
    return number


def count(name: str, value: int, *, low: int = 1) -> int:
    """An int >= low."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise SpecError(f"{name}: expected an int >= {low}, got {value!r}")
    return int(value)


def one_of(name: str, value: str, names: Collection[str]) -> str:
    """One of the named choices."""
    if value not in names:
        raise SpecError(f"{name}: expected one of {', '.join(sorted(names))}, got {value!r}")
    return value


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise SpecError(f"{name}: expected a number, got {value!r}")
    return float(value)


def _check_shape(name: str, array: NDArray[np.generic], shape: tuple[int, ...] | None) -> None:
    if shape is not None and array.shape != shape:
        raise SpecError(f"{name}: expected shape {shape}, got {array.shape}")


def _first(array: NDArray[np.generic], where: Bool) -> tuple[tuple[int, ...], object]:
    index = tuple(int(i) for i in np.argwhere(where)[0])
    return index, array[index]
