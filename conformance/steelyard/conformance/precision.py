"""The floating formats a candidate may work in: their rounding, range and unit roundoff.

The suite carries every float as a float64 whose value is representable in the case's working format, so that
the candidate, which gets it in that format, and the oracle, which takes it as it is, see the same number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """A binary floating format."""

    name: str
    unit_roundoff: float
    """u: a correctly rounded operation has a relative error of at most u."""
    smallest_normal: float
    largest: float


FLOAT64 = Precision("float64", 2.0**-53, 2.0**-1022, float(np.finfo(np.float64).max))
FLOAT32 = Precision("float32", 2.0**-24, 2.0**-126, float(np.finfo(np.float32).max))
FLOAT16 = Precision("float16", 2.0**-11, 2.0**-14, 65504.0)
BFLOAT16 = Precision("bfloat16", 2.0**-8, 2.0**-126, float((2 - 2.0**-7) * 2.0**127))

_DIGITS, _SMALLEST_EXPONENT = 8, -125  # of bfloat16, the numbers being m * 2^e with 1/2 <= m < 1

PRECISIONS: dict[str, Precision] = {p.name: p for p in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def computing_precision(name: str) -> Precision:
    """The format in which a technique is to be computed: float32 for the halves, else the format itself."""
    return FLOAT32 if name in ("float16", "bfloat16") else PRECISIONS[name]


def round_to(name: str, values: NDArray[np.generic]) -> Float:
    """Nearest values representable in the format (ties to even), as float64. Values beyond its range are cut to it."""
    precision = PRECISIONS[name]
    exact = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(exact)
    cut = np.where(finite, np.clip(exact, -precision.largest, precision.largest), exact)
    if name == "float64":
        return cut
    if name == "bfloat16":
        return _round_to_bfloat16(cut)
    with np.errstate(under="ignore"):
        rounded: Float = cut.astype(np.dtype(name)).astype(np.float64)
    return rounded


def _round_to_bfloat16(values: Float) -> Float:
    """To a whole number of units in the last place, which do not shrink below the normal numbers."""
    _, exponent = np.frexp(values)
    last_place = np.maximum(exponent, _SMALLEST_EXPONENT) - _DIGITS
    rounded: Float = np.ldexp(np.rint(np.ldexp(values, -last_place)), last_place)
    return rounded
