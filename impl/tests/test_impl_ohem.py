"""Online hard example mining of batches: the specification's choice, bit for bit, and its mean."""

import numpy as np
import pytest
import torch

from steelyard import reference
from steelyard.impl import online_hard_example_loss, online_hard_example_mining, stratified_hard_example_mining

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def batch(seed, size=None, *, equal=True):
    """Boxes on a small grid, so that many overlap, few different losses, ignored RoIs."""
    random = np.random.default_rng(seed)
    shape = (2, int(random.integers(0, 40)) if size is None else size)
    corners = random.integers(0, 8, (*shape, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 8, (*shape, 2))], axis=-1).astype(np.float64)
    places = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1)
    losses = (places // 3 if equal else places) / 8
    return boxes, random.integers(-1, 3, shape), losses, np.where(random.random(shape) < 0.5, 0.0, 8.0 * (not equal))


def tensors(arrays, dtype=torch.float64):
    return [torch.from_numpy(a).to(dtype) if a.dtype == np.float64 else torch.from_numpy(a) for a in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(8))
def test_same_choice_as_specified(seed, dtype):
    """With ties in losses and in overlaps; thresholds that every format holds exactly."""
    arrays = batch(seed)
    options = {
        "num_classes": 2,
        "num_samples": 1 + seed,
        "iou_threshold": [None, 0.5, 0.25, 0.0][seed % 4],
        "labels_apart": seed % 3 > 0,
    }

    selected = online_hard_example_mining(*tensors(arrays, dtype), **options)

    np.testing.assert_array_equal(selected.numpy(), reference.online_hard_example_mining(*arrays, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_loss_and_gradients_as_specified(dtype):
    """Mean of the selected; nothing flows elsewhere, and by the regression loss only into the foreground."""
    arrays = batch(1, 20, equal=False)
    boxes, labels, classification, regression = tensors(arrays, dtype)
    classification.requires_grad_()
    regression.requires_grad_()
    options = {"num_classes": 2, "num_samples": 5, "iou_threshold": 0.5}

    loss = online_hard_example_loss(boxes, labels, classification, regression, **options)
    loss.backward()

    assert loss.item() == pytest.approx(reference.online_hard_example_loss(*arrays, **options), rel=1e-6)
    for name, argument in (("classification", classification), ("regression", regression)):
        exact = getattr(reference, f"online_hard_example_loss_grad_{name}_losses")(*arrays, **options)
        np.testing.assert_allclose(argument.grad.double().numpy(), exact, rtol=torch.finfo(dtype).eps)


def test_gradients_of_first_order():
    """By differences, with losses that are apart."""
    boxes, labels, classification, regression = tensors(batch(2, 12, equal=False))
    options = {"num_classes": 2, "num_samples": 5, "iou_threshold": 0.5}

    def loss(classification, regression):
        return online_hard_example_loss(boxes, labels, classification, regression, **options)

    assert torch.autograd.gradcheck(loss, (classification.requires_grad_(), regression.requires_grad_()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("either_way")
def test_same_stratified_choice_as_specified(seed):
    """Shortages of both groups, bounds, ties."""
    _, labels, losses, _ = batch(seed)
    options = {
        "num_classes": 2, "num_samples": 3 + 2 * seed, "positive_fraction": [0.5, 0.25, 0.0, 1.0][seed % 4],
        "negatives_per_positive": [None, 0.0, 2.5][seed % 3],
    }  # fmt: skip

    sample = stratified_hard_example_mining(*tensors((losses, labels)), **options)

    expected = reference.stratified_hard_example_mining(losses, labels, **options)
    np.testing.assert_array_equal(sample.positive.numpy(), expected.positive)
    np.testing.assert_array_equal(sample.negative.numpy(), expected.negative)


def test_ignored_rois_may_be_anything():
    """NaN in the losses of padding, and in regression losses of the background, spoils nothing."""
    arrays = batch(5, 10)
    boxes, labels, classification, regression = tensors(arrays)
    classification[labels == -1] = torch.nan
    regression[(labels == -1) | (labels == 2)] = torch.nan
    classification.requires_grad_()

    loss = online_hard_example_loss(boxes, labels, classification, regression, num_classes=2, num_samples=4)
    loss.backward()

    assert loss.item() == pytest.approx(reference.online_hard_example_loss(*arrays, num_classes=2, num_samples=4))
    assert classification.grad.isfinite().all()


def everything(boxes, labels, classification, regression):
    options = {"num_classes": 2, "num_samples": 4}
    arguments = (boxes, labels, classification, regression)
    return (
        online_hard_example_mining(*arguments, **options),
        *stratified_hard_example_mining(classification, labels, **options),
        online_hard_example_loss(*arguments, **options),
    )


def test_runs_without_data_compiles_and_maps():
    """meta device, fullgraph, vmap: the shapes never depend on a value."""
    arguments = tensors(batch(6, 30))
    eager = everything(*arguments)

    assert everything(*[argument.to("meta") for argument in arguments])[0].shape == (2, 30)
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(*arguments)
    mapped = torch.func.vmap(everything)(*arguments)
    for one, two in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, two)
    for one, two in zip(eager[:3], mapped[:3], strict=True):
        assert torch.equal(one, two)


def test_inputs_stay_as_they_are():
    """Nothing is written to."""
    arguments = tensors(batch(7, 20))
    kept = [argument.clone() for argument in arguments]

    everything(*arguments)

    assert all(torch.equal(one, two) for one, two in zip(arguments, kept, strict=True))


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [(0, {}, "labels"), (1, {}, "labels"), (2, {}, "classification_losses"), (3, {}, "regression_losses"),
     (None, {"num_samples": 0}, "num_samples"), (None, {"iou_threshold": 1.5}, "iou_threshold"),
     (None, {"num_classes": 0}, "num_classes")],
)  # fmt: skip
def test_bad_arguments_are_named(place, options, message):
    """Each refusal says which argument."""
    arguments = tensors(batch(8, 5))
    if place is not None:
        arguments[place] = arguments[place][:, 1:]

    with pytest.raises(ValueError, match=message):
        online_hard_example_mining(*arguments, **{"num_classes": 2, **options})


def test_bad_arguments_of_the_stratified_variant_are_named():
    """Shapes, and the same refusals as random sampling."""
    losses, labels = torch.zeros(3), torch.zeros(3, dtype=torch.long)

    with pytest.raises(ValueError, match="losses"):
        stratified_hard_example_mining(losses[0], labels[0], num_classes=1)
    with pytest.raises(ValueError, match="labels"):
        stratified_hard_example_mining(losses, labels[:2], num_classes=1)
    with pytest.raises(ValueError, match="negatives_per_positive"):
        stratified_hard_example_mining(losses, labels, num_classes=1, negatives_per_positive=-1.0)
