"""What a call asks of its device: every operator that it dispatches, and which of them make the host wait."""

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BY_VALUES = "its result has a shape that depends on values"
TO_THE_HOST = "a value goes to the host"
BY_A_MASK = "what a boolean mask selects is counted first"
BETWEEN_DEVICES = "tensors of several devices meet"
FROM_THE_HOST = "numbers are copied from the host"


class Operators(TorchDispatchMode):
    """Every operator that is dispatched, one after another, and those that wait, with the reason.

    Of an operator of our own its implementation is watched, but counts as one operator. Those of CPUs are not looked
    into: they are arithmetic of the host, and on a device others stand in their place.
    """

    def __init__(self):
        super().__init__()
        self.names = []
        self.waiting = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.names.append(name)
        if function.name() in OPDEFS and function.namespace.startswith("steelyard"):
            with Operators() as inner:
                result = OPDEFS[function.name()]._init_fn(*args, **(kwargs or {}))
            self.waiting += inner.waiting
            return result
        reason = _before(function, args, kwargs or {})
        if reason is not None:
            self.waiting.append((name, reason))
        result = function(*args, **(kwargs or {}))
        devices = {leaf.device for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
        if len(devices) > 1:
            self.waiting.append((name, BETWEEN_DEVICES))
        return result


def _before(function, args, kwargs):
    """Why an operator waits, as far as its arguments tell; those that depend on values PyTorch itself marks."""
    name = function.overloadpacket.__name__
    if name == "lift_fresh":  # of `torch.tensor` and its like
        return FROM_THE_HOST
    if name in {"index", "index_put", "index_put_", "_unsafe_index", "_unsafe_index_put"}:
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        return BY_A_MASK if masks else None
    if torch.Tag.data_dependent_output in function.tags:
        return TO_THE_HOST
    if torch.Tag.dynamic_output_shape in function.tags and kwargs.get("output_size") is None:
        return BY_VALUES
    return None
