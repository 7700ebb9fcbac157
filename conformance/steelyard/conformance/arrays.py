"""Arrays in and out of a candidate's framework, and gradients by the framework's own means."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from steelyard.conformance.candidates import PLAIN_PYTHON, NoGradientError, plain, working_array
from steelyard.conformance.contract import Array, apply_cotangent

Function = Callable[..., Any]


class Framework(ABC):
    """One array library."""

    dtypes: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")
    differentiates = False
    """Whether it takes gradients by itself; else the candidate needs a function NAME_grad."""

    @abstractmethod
    def send(self, values: Array, dtype: str) -> Any:  # noqa: ANN401
        """An array of the framework in its own memory: floats in the working dtype."""

    @abstractmethod
    def receive(self, values: Any) -> tuple[Array, str]:  # noqa: ANN401
        """The NumPy form (floats as float64) and the name of the format that it had."""

    def gradients(
        self,
        function: Function,
        derivatives: Mapping[str, Function],
        arguments: Mapping[str, Any],
        gradient_of: Sequence[str],
        cotangent: Array | None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Outputs, and gradients by the candidate's own derivative functions (NumPy and plain arrays)."""
        outputs = returned_outputs(function(**arguments))
        gradients = {}
        for name in gradient_of:
            if name not in derivatives:
                raise NoGradientError(f"no function for the gradient with respect to {name}")
            derivative, _ = self.receive(derivatives[name](**arguments))
            fits = derivative.shape == tuple(arguments[name].shape)  # else its shape is what the judge has to see
            gradients[name] = apply_cotangent(derivative, cotangent) if fits else derivative
        return outputs, gradients


class NumpyFramework(Framework):
    """NumPy, and any answer that NumPy can read: lists, numbers, DLPack arrays."""

    dtypes = ("float32", "float64", "float16")

    def send(self, values: Array, dtype: str) -> Array:
        """A copy in the working dtype."""
        return working_array(values, dtype)

    def receive(self, values: Any) -> tuple[Array, str]:  # noqa: ANN401
        """What NumPy makes of it."""
        array = np.from_dlpack(values) if _only_dlpack(values) else np.asarray(values)
        plain_python = isinstance(values, list | float | int)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"returned {type(values).__name__} ({array.dtype}), which is not an array of real numbers")
        return plain(array), PLAIN_PYTHON if plain_python else array.dtype.name


class TorchFramework(Framework):
    """PyTorch, with autograd."""

    differentiates = True

    def __init__(self, device: str) -> None:
        self._torch = importlib.import_module("torch")
        self._device = device

    def send(self, values: Array, dtype: str) -> Any:  # noqa: ANN401
        """A tensor on the device."""
        tensor = self._torch.from_numpy(np.array(values))
        if values.dtype.kind == "f":
            tensor = tensor.to(getattr(self._torch, dtype))
        return tensor.to(self._device)

    def receive(self, values: Any) -> tuple[Array, str]:  # noqa: ANN401
        """Detached, on the CPU."""
        if not isinstance(values, self._torch.Tensor):
            return NumpyFramework().receive(values)
        name = str(values.dtype).removeprefix("torch.")
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.double()
        return plain(values.numpy()), name

    def gradients(
        self,
        function: Function,
        derivatives: Mapping[str, Function],
        arguments: Mapping[str, Any],
        gradient_of: Sequence[str],
        cotangent: Array | None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Outputs and autograd's gradients; the candidate's own derivatives only where autograd has none."""
        leaves = {name: value.requires_grad_() if name in gradient_of else value for name, value in arguments.items()}
        outputs = returned_outputs(function(**leaves))
        first = outputs[0]
        if not isinstance(first, self._torch.Tensor) or not first.requires_grad:
            if all(name in derivatives for name in gradient_of):
                return super().gradients(function, derivatives, arguments, gradient_of, cotangent)
            raise NoGradientError("the answer is not connected to the input: it has no autograd graph")
        upstream = self._torch.from_numpy(_upstream(first.shape, cotangent)).to(first)
        found = self._torch.autograd.grad(first, [leaves[name] for name in gradient_of], upstream, allow_unused=True)
        pairs = zip(gradient_of, found, strict=True)
        return outputs, {n: self._torch.zeros_like(leaves[n]) if g is None else g for n, g in pairs}


class JaxFramework(Framework):
    """JAX, with jax.vjp."""

    differentiates = True

    def __init__(self) -> None:
        self._jax = importlib.import_module("jax")
        self._jax.config.update("jax_enable_x64", True)

    def send(self, values: Array, dtype: str) -> Any:  # noqa: ANN401
        """A JAX array in the working dtype."""
        return self._jax.numpy.asarray(values, dtype=dtype if values.dtype.kind == "f" else None)

    def receive(self, values: Any) -> tuple[Array, str]:  # noqa: ANN401
        """Through float64, which holds bfloat16 exactly."""
        name = str(getattr(values, "dtype", ""))
        if name == "bfloat16":
            return np.asarray(values.astype("float32"), dtype=np.float64), name
        return NumpyFramework().receive(np.asarray(values))

    def gradients(
        self,
        function: Function,
        derivatives: Mapping[str, Function],  # noqa: ARG002 - as in PyTorch
        arguments: Mapping[str, Any],
        gradient_of: Sequence[str],
        cotangent: Array | None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Outputs and the vector-Jacobian product."""
        fixed = {name: value for name, value in arguments.items() if name not in gradient_of}
        kept: list[tuple[Any, ...]] = []

        def first_output(*values: Any) -> Any:  # noqa: ANN401
            outputs = returned_outputs(function(**fixed, **dict(zip(gradient_of, values, strict=True))))
            kept.append(outputs)
            return outputs[0]

        first, pull_back = self._jax.vjp(first_output, *(arguments[name] for name in gradient_of))
        found = pull_back(self._jax.numpy.asarray(_upstream(first.shape, cotangent), dtype=first.dtype))
        return (first, *kept[0][1:]), dict(zip(gradient_of, found, strict=True))


class StandardFramework(NumpyFramework):
    """Any other library whose namespace has `asarray` or `from_dlpack`, as the array API standard wants."""

    def __init__(self, name: str) -> None:
        self._namespace = importlib.import_module(name)

    def send(self, values: Array, dtype: str) -> Any:  # noqa: ANN401
        """Over DLPack where the library speaks it."""
        array = working_array(values, dtype)
        convert = getattr(self._namespace, "from_dlpack", None) or self._namespace.asarray
        return convert(array)


def framework(name: str, device: str = "cpu") -> Framework:
    """The framework of this name: numpy, torch, jax, or the module of another array library."""
    if name == "torch":
        return TorchFramework(device)
    if name == "jax":
        return JaxFramework()
    return NumpyFramework() if name == "numpy" else StandardFramework(name)


def returned_outputs(returned: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """One array an output. A list is one array, a tuple is several outputs, also within a tuple."""
    if isinstance(returned, tuple):
        return tuple(output for part in returned for output in returned_outputs(part))
    return (returned,)


def _upstream(shape: Sequence[int], cotangent: Array | None) -> Array:
    """The gradient from above; ones where the answer has another shape, which the judge sees first."""
    return np.array(cotangent) if cotangent is not None and cotangent.shape == tuple(shape) else np.ones(tuple(shape))


def _only_dlpack(values: Any) -> bool:  # noqa: ANN401
    return hasattr(values, "__dlpack__") and not hasattr(values, "__array__")
