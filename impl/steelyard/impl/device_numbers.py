"""Python numbers as a tensor on a device.

`torch.tensor` makes them on the host and copies them, which waits for the device and cannot be part of a CUDA graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def device_numbers(numbers: Sequence[float], *, dtype: torch.dtype, device: torch.device | str | None = None) -> Tensor:
    """A vector that is filled in on the device.

    Shapes: -> (number of numbers,), at least one.
    """
    return torch.stack([torch.full((), number, dtype=dtype, device=device) for number in numbers])
