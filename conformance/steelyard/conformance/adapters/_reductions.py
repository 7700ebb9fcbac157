"""A library's reduction alone: its loss with the losses of the elements given instead of computed."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import Tensor


def with_names(function: Callable[..., Any], **names: object) -> Callable[..., Any]:
    """The library's function with some of the names that it looks up in its module replaced, in this copy alone."""
    assert isinstance(function, FunctionType)
    copy = FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return copy


def foreground_anchors(losses: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Their number, which a caller hands to a library that asks for no labels."""
    if labels.shape != losses.shape[:2] or not len(labels):
        raise ValueError(f"labels: expected shape (B, N) of the losses with B >= 1, got {tuple(labels.shape)}")
    return ((labels >= 0) & (labels < num_classes)).sum()
