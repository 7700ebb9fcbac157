"""Anchors and windows: agreement with the specification, to the last bit where no root is taken."""

import numpy as np
import pytest
import torch

from steelyard.impl.detection import anchor_designs, anchors, sliding_windows
from steelyard.reference.detection import anchor_designs as designs_reference
from steelyard.reference.detection import anchors as reference
from steelyard.reference.detection.sliding_windows import sliding_windows as sliding_windows_reference

SIZES = [(800, 1333), (37, 500), (1, 1)]


def _assert_rounded_alike(actual, expected):
    """Within three ulps of the largest coordinate.

    The root of a ratio has one: that of float64 vectors is not correctly rounded on every processor. The product or
    quotient adds one, the sum with the place of the anchor another.
    """
    bound = 3 * np.spacing(np.abs(expected).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_designs_agree_with_the_specification(height, width, offset):
    """In float64, and in float32 rounded once from it."""
    image = {"height": height, "width": width, "offset": offset}
    expected = designs_reference.retinanet_anchors(**image)
    expected_rpn = designs_reference.faster_rcnn_anchors(**image)

    boxes, levels = anchor_designs.retinanet_anchors(**image, dtype=torch.float64)
    rpn = anchor_designs.faster_rcnn_anchors(**image, dtype=torch.float64)

    _assert_rounded_alike(boxes.numpy(), expected.boxes)
    _assert_rounded_alike(rpn.numpy(), expected_rpn)
    np.testing.assert_array_equal(levels.numpy(), expected.levels)
    assert torch.equal(anchor_designs.retinanet_anchors(**image).boxes, boxes.float())
    assert torch.equal(anchor_designs.faster_rcnn_anchors(**image), rpn.float())


def test_grids_agree_with_the_specification():
    """Cell anchors, their grid, and points."""
    grid = {"feature_height": 3, "feature_width": 4, "stride": 12.0, "offset": 0.25}
    sizes, ratios = [8.0, 11.5], [0.3, 1.0, 2.0]
    cell = anchors.cell_anchors(torch.tensor(sizes, dtype=torch.float64), torch.tensor(ratios, dtype=torch.float64))

    _assert_rounded_alike(cell.numpy(), reference.cell_anchors(sizes, ratios))
    np.testing.assert_array_equal(anchors.grid_anchors(cell, **grid), reference.grid_anchors(cell.numpy(), **grid))
    np.testing.assert_array_equal(anchors.grid_points(**grid), reference.grid_points(**grid))
    assert anchors.grid_points(feature_height=0, feature_width=4, stride=8).shape == (0, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_give_float32_anchors(dtype):
    """Pixels beyond 2048 are no numbers of half precision, but columns of a large image."""
    cell = anchors.cell_anchors(torch.tensor([32.0], dtype=dtype), torch.tensor([0.5], dtype=dtype))
    grid = {"feature_height": 1, "feature_width": 700, "stride": 4.0}

    wide = anchors.grid_anchors(torch.tensor([[-2.5, -1.0, 2.5, 1.0]], dtype=dtype), **grid)

    np.testing.assert_allclose(cell, reference.cell_anchors([32.0], [0.5]), rtol=1e-6)
    np.testing.assert_array_equal(wide, reference.grid_anchors([[-2.5, -1.0, 2.5, 1.0]], **grid))


@pytest.mark.parametrize("window", [(3, 4, 1), (3, 4, 2), (9, 2, 1), (10, 4, 3)])
def test_windows_agree_with_the_specification(window):
    """All that fit, or none."""
    image = dict(zip(("window_height", "window_width", "stride"), window, strict=True)) | {"height": 9, "width": 11}

    np.testing.assert_array_equal(sliding_windows.sliding_windows(**image), sliding_windows_reference(**image))


def test_inside_agrees_with_the_specification():
    """For each image of a batch by its own size."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.randint(-2, 12, (2, 50, 4), generator=generator).double()
    sizes = torch.tensor([[8, 9], [10, 7]])

    for border in (0.0, 1.0):
        inside = anchors.inside_image(boxes, sizes, border=border)
        for i in range(2):
            expected = reference.inside_image(boxes[i].numpy(), sizes[i].numpy(), border=border)
            np.testing.assert_array_equal(inside[i], expected)


def test_runs_without_data_and_compiles_whole():
    """On the meta device, and as one graph."""
    assert anchor_designs.retinanet_anchors(height=800, width=1333, device="meta").boxes.shape == (201600, 4)
    assert anchor_designs.faster_rcnn_anchors(height=600, width=1000, device="meta").shape == (21546, 4)

    compiled = torch.compile(anchor_designs.retinanet_anchors, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(height=64, width=96), anchor_designs.retinanet_anchors(height=64, width=96))


def test_errors():
    """Numbers out of range."""
    for call in (
        lambda: anchors.cell_anchors(torch.ones(1, 1), torch.ones(1)),
        lambda: anchors.cell_anchors(torch.ones(1), torch.ones(1, 1)),
        lambda: anchors.grid_points(feature_height=1, feature_width=1, stride=0),
        lambda: anchors.grid_points(feature_height=1, feature_width=1, stride=1, offset=2),
        lambda: anchor_designs.retinanet_anchors(height=0, width=1),
        lambda: sliding_windows.sliding_windows(height=1, width=1, window_height=0, window_width=1, stride=1),
        lambda: anchors.inside_image(torch.zeros(1, 4), torch.ones(2), border=-1),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
