"""Compositing: it agrees with its specification, and its form suits accelerators."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from steelyard.impl.generative.compositing import composite
from steelyard.reference.generative import compositing as oracle


def scene(seed, dtype=torch.float64):
    """Three objects of 3 x 4 on backgrounds of 5 x 6."""
    random = np.random.default_rng(seed)
    arrays = {
        "foreground": random.random((3, 2, 3, 4)), "alpha": random.random((3, 3, 4)),
        "background": random.random((3, 2, 5, 6)),
        "theta": np.array([[1, 0, 0], [0, 1, 0]]) + random.normal(size=(3, 2, 3)) * [0.3, 0.3, 1.0],
    }  # fmt: skip
    return {name: torch.as_tensor(array).to(dtype) for name, array in arrays.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.float16, 2e-3)])
def test_it_is_the_specification_s(dtype, tolerance):
    """Images to rounding, boxes exactly, at a threshold that no opacity comes near."""
    for seed in range(20):
        given = scene(seed, dtype)

        image, box = composite(**given, threshold=0.0123)

        wanted, wanted_box = oracle.composite(**{n: t.double().numpy() for n, t in given.items()}, threshold=0.0123)
        assert image.dtype == dtype
        np.testing.assert_allclose(image.double().numpy(), wanted, atol=tolerance)
        if dtype == torch.float64:
            np.testing.assert_array_equal(box.numpy(), wanted_box)


def test_derivatives():
    """First and second, by object, opacity and background."""
    given = scene(0)
    inputs = tuple(given[name][:1].requires_grad_() for name in ("foreground", "alpha", "background"))

    def blend(foreground, alpha, background):
        return composite(foreground, alpha, background, given["theta"][:1])[0]

    assert gradcheck(blend, inputs)
    assert gradgradcheck(blend, inputs)


def test_one_graph_without_data():
    """On the meta device, and in one graph."""
    given = scene(1, torch.float32)

    shadow, shadow_box = composite(**{name: tensor.to("meta") for name, tensor in given.items()})
    image, box = torch.compile(composite, fullgraph=True, backend="eager")(**given)

    wanted, wanted_box = composite(**given)
    assert (shadow.shape, shadow_box.shape) == (wanted.shape, wanted_box.shape)
    torch.testing.assert_close(image, wanted)
    torch.testing.assert_close(box, wanted_box)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": torch.zeros(3, 3, 3)}, "alpha: expected shape"),
        ({"theta": torch.zeros(2, 2, 3)}, "theta: expected shape"),
        ({"foreground": torch.zeros(3, 3, 3, 4)}, "foreground: expected shape"),
    ],
)
def test_wrong_shapes_are_refused(changes, message):
    """One line that names argument, expectation and value."""
    with pytest.raises(ValueError, match=message):
        composite(**{**scene(0), **changes})
