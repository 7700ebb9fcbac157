"""Operators of our own that run on CPUs only, on arrays of NumPy.

A compiler does not look into them, and they are not run where tensors have no data. They are registered without the
wrappers of `torch.library.custom_op`, which cost 40 microseconds a call: as much as selecting from 16,000 numbers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LIBRARY = torch.library.Library("steelyard", "FRAGMENT")  # type: ignore[no-untyped-call]


def used_for(tensor: Tensor) -> bool:
    """Whether a tensor's values lie where NumPy finds them; elsewhere the same is done by PyTorch's own operators."""
    return tensor.device.type == "cpu"


def define(schema: str, on_cpu: Callable[..., Any], shapes: Callable[..., Any]) -> Callable[..., Any]:
    """The operator that a schema describes: what it does, and what shapes its results have.

    Nothing is differentiated. Mapped by `torch.func.vmap`, it is called again and again.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, on_cpu, "CPU")  # type: ignore[no-untyped-call]
    operator: Callable[..., Any] = getattr(torch.ops.steelyard, name).default

    def mapped(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:  # noqa: ANN401
        calls = [
            operator(*(_part(value, dim, i) for value, dim in zip(arguments, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(calls[0], Tensor):
            return torch.stack(calls), 0
        stacked = tuple(torch.stack(results) for results in zip(*calls, strict=True))
        return stacked, (0,) * len(stacked)

    torch.library.register_fake(f"steelyard::{name}", shapes, lib=LIBRARY)
    torch.library.register_vmap(f"steelyard::{name}", mapped, lib=LIBRARY)
    return operator


def _part(value: Any, dim: int | None, i: int) -> Any:  # noqa: ANN401
    return value if dim is None else value.select(dim, i)
