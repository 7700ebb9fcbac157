"""Shapes and dtypes of all results are known before any value is: on the meta device, and of fake tensors.

Such a call allocates the same memory and launches the same kernels every time: a CUDA graph of it can be replayed.
"""

import pytest
import torch
from example_inputs import EXAMPLES, SMALL, function_of, results_and_gradients
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_map_only


def _described(parts):
    """Shape and dtype of each result and gradient."""
    return [[(tensor.shape, tensor.dtype) for tensor in part] for part in parts]


def _of_fake_tensors(function, entry, arguments):
    """Results and gradients of tensors without data, which stand for ones on a device with data."""
    with FakeTensorMode() as mode:
        return results_and_gradients(function, entry, tree_map_only(Tensor, mode.from_tensor, arguments))


@pytest.mark.parametrize("entry", EXAMPLES)
def test_shapes_and_dtypes_do_not_depend_on_values(entry):
    example, function = EXAMPLES[entry], function_of(entry)

    real = results_and_gradients(function, entry, example.arguments(SMALL))
    meta = results_and_gradients(function_of(entry, "meta"), entry, example.arguments(SMALL, device="meta"))
    fake = _of_fake_tensors(function, entry, example.arguments(SMALL))

    assert all(tensor.is_meta for part in meta for tensor in part)
    assert _described(real) == _described(meta) == _described(fake)


@pytest.mark.parametrize(
    "looks",
    [
        lambda boxes: boxes[boxes[..., 0] > 30],
        lambda boxes: boxes.nonzero(),
        lambda boxes: boxes * (2.0 if boxes.sum() > 0 else 1.0),
        lambda boxes: boxes * boxes.amax().item(),
        lambda boxes: boxes.unique(),
        lambda boxes: torch.bincount(boxes.flatten().long()),
    ],
)
def test_what_looks_at_a_value_is_noticed(looks):
    """With both kinds of tensors without data."""
    with pytest.raises((RuntimeError, NotImplementedError)):  # PyTorch's own errors: there is no data
        looks(EXAMPLES["box_area"].arguments(SMALL, device="meta")["boxes"])
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        _of_fake_tensors(looks, "clip_boxes", {"boxes": EXAMPLES["box_area"].arguments(SMALL)["boxes"]})
