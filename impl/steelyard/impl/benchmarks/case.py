"""What is measured: one technique at one size, ours and its peers on the same tensors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

Axes = Mapping[str, int]
Inputs = dict[str, Any]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Result:
    """What a call gave: its tensors, and the gradients of the differentiated inputs."""

    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


@dataclass(frozen=True)
class Peer:
    """A function of another library, called as its users call it.

    `prepare` imports the library (it is absent where that fails), puts the inputs into its types, outside of the
    clock, and gives the call that is timed. What depends on a differentiated input belongs into the call.
    `departs` says where it is known to give something else than ours: then it is timed all the same.
    """

    name: str
    prepare: Callable[[Inputs], Call]
    departs: str = ""


@dataclass(frozen=True)
class Floor:
    """The least that any implementation of the case's result has to run: the limit of what can be reached here.

    `what` names the operators, in a line. `prepare` gives the calls that are timed together: one, or one forward and
    one backward. `compiled` puts each through torch.compile, and makes it the limit of ours, compiled. It counts for
    nothing else: it computes too little.
    """

    what: str
    prepare: Callable[[Inputs], Call | tuple[Call, ...]]
    compiled: bool = False


Agreement = Callable[[Result, Result, Inputs], str]
"""How a peer's result (first) departs from ours (second), in one line; empty where it agrees."""


def near(ours: Result, theirs: Result, *, relative: float = 1e-3) -> str:
    """Outputs and gradients within a part of their largest magnitude: float32 sums in two orders differ by less."""
    for what, expected, found in (
        ("result", ours.outputs, theirs.outputs),
        ("gradient", ours.gradients, theirs.gradients),
    ):
        if len(expected) != len(found):
            return f"{len(found)} tensors as {what}, not {len(expected)}"
        for mine, other in zip(expected, found, strict=True):
            if mine.shape != other.shape:
                return f"{what} of shape {tuple(other.shape)}, not {tuple(mine.shape)}"
            if not mine.numel():
                continue
            kind = torch.promote_types(torch.promote_types(mine.dtype, other.dtype), torch.float32)
            largest = torch.linalg.vector_norm(mine.to(kind), torch.inf)
            apart = torch.linalg.vector_norm(mine.to(kind) - other.to(kind), torch.inf)
            if not apart <= relative * largest:
                return f"{what} off by {apart.item():.3g}, where the largest is {largest.item():.3g}"
    return ""


def _agree(theirs: Result, ours: Result, _: Inputs) -> str:
    return near(ours, theirs)


@dataclass(frozen=True)
class Growth:
    """Sizes along one axis at which ours is timed; with the default of 1.05, the steepest slope that is fine."""

    axis: str
    sizes: tuple[int, ...]
    beside: Axes = field(default_factory=dict)
    steepest: float = 1.05


@dataclass(frozen=True)
class Case:
    """One technique at one size.

    `ours` gets the inputs that `takes` names (all by default) as keywords; its gradients by `differentiates` are
    part of the time. `goal` is how many times as fast as the fastest peer ours has to be, eager and compiled;
    `floors` (one eager, one compiled at most) show how fast anything could be.
    """

    technique: str
    axes: Axes
    make_inputs: Callable[[Axes, torch.device, Generator], Inputs]
    ours: Callable[..., Any]
    takes: tuple[str, ...]
    peers: tuple[Peer, ...] = ()
    differentiates: tuple[str, ...] = ()
    yardstick: str = "logits"
    agreement: Agreement = _agree
    likeness: str = ""
    goal: tuple[float, float] | None = None
    growth: tuple[Growth, ...] = ()
    floors: tuple[Floor, ...] = ()
    compiles: bool = True

    @property
    def magnitude(self) -> int:
        """The product of the axes: about how long it takes."""
        return math.prod(self.axes.values())

    @property
    def size(self) -> str:
        """The axes, as a reader says them."""
        return " x ".join(f"{length:,}" for length in self.axes.values())

    @property
    def id(self) -> str:
        """Technique and size."""
        return f"{self.technique} {self.size}"


def tensors_of(answer: Any) -> tuple[Tensor, ...]:  # noqa: ANN401 - whatever a library returns
    """Every tensor in what a function returned, in order."""
    if isinstance(answer, Tensor):
        return (answer,)
    if isinstance(answer, Mapping):
        answer = answer.values()
    if isinstance(answer, str) or not hasattr(answer, "__iter__"):
        return ()
    return tuple(tensor for part in answer for tensor in tensors_of(part))


def scene_generator(device: torch.device) -> Generator:
    """The same numbers in every run."""
    return torch.Generator(device).manual_seed(0)
