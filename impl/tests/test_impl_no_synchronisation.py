"""No operator makes the host wait for a device, and their number depends on no size; memory of the losses.

Operators are watched as they are dispatched, forward and backward: also those inside of operators of our own.
"""

import pytest
import torch
from example_inputs import DEVICES, EXAMPLES, LARGER, SMALL, function_of, results_and_gradients
from watching import (
    BETWEEN_DEVICES,
    BY_A_MASK,
    BY_VALUES,
    FROM_THE_HOST,
    TO_THE_HOST,
    Operators,
)

import steelyard.impl as room

pytestmark = pytest.mark.usefixtures("as_on_a_device")  # the host waits for itself in no other way

MASK = torch.tensor([True, False, True])
WAITING = {
    "a sum by item": (lambda x: x * x.sum().item(), TO_THE_HOST),
    "a condition": (lambda x: x if (x > 0).all() else -x, TO_THE_HOST),
    "a float": (lambda x: x * float(x.detach().sum()), TO_THE_HOST),
    "a comparison of tensors": (lambda x: x * torch.equal(x, x), TO_THE_HOST),
    "an index by a mask": (lambda x: x[MASK], BY_A_MASK),
    "an assignment by a mask": (lambda x: x.clone().index_put((MASK,), x.new_zeros(2)), BY_A_MASK),
    "nonzero": (lambda x: x[x.nonzero()], BY_VALUES),
    "where with one argument": (lambda x: x[torch.where(x > 0)], BY_VALUES),
    "masked_select": (lambda x: x.masked_select(MASK), BY_VALUES),
    "unique": (lambda x: x * len(x.unique()), BY_VALUES),
    "bincount": (lambda x: x * torch.bincount(MASK.long())[0], BY_VALUES),
    "repeat_interleave": (lambda x: x.repeat_interleave(MASK.long()), BY_VALUES),
    "numbers of the host": (lambda x: x * torch.tensor([1.0, 2.0, 3.0]), FROM_THE_HOST),
    "a number of the host": (lambda x: x * x.new_tensor(2.0), FROM_THE_HOST),
}


def _inputs(images, anchors, classes):
    generator = torch.Generator().manual_seed(0)
    shape = (images, anchors)
    boxes = torch.rand(*shape, 4, generator=generator)
    return {
        "x": torch.randn(*shape, classes, generator=generator).requires_grad_(),
        "y": torch.randint(0, 2, (*shape, classes), generator=generator),
        "soft": torch.rand(*shape, classes, generator=generator),
        "labels": torch.randint(-1, classes + 1, shape, generator=generator),
        "last": torch.randint(-1, classes, shape, generator=generator),
        "quality": torch.rand(*shape, generator=generator),
        "z": torch.randn(*shape, 4, 17, generator=generator).requires_grad_(),
        "distances": torch.rand(*shape, 4, generator=generator) * 16,
        "boxes": torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1),
        "deltas": torch.randn(*shape, 4, generator=generator).requires_grad_(),
        "zeros": torch.zeros(*shape, 4),
        "giou": torch.rand(*shape, generator=generator).requires_grad_(),
        "objects": torch.randint(0, 5, shape, generator=generator),
        "keys": torch.rand(*shape, generator=generator),
    }


CALLS = {
    "sigmoid_focal_loss": lambda t, _: room.sigmoid_focal_loss(t["x"], t["y"]),
    "sigmoid_focal_loss_with_labels": lambda t, _: room.sigmoid_focal_loss_with_labels(t["x"], t["labels"]),
    "softmax_focal_loss": lambda t, _: room.softmax_focal_loss(t["x"], t["last"]),
    "focal_loss_star": lambda t, _: room.focal_loss_star(t["x"], t["y"]),
    "normalise_focal_loss": lambda t, _: room.normalise_focal_loss(
        t["x"] ** 2, t["labels"], num_classes=t["x"].shape[-1]
    ),
    "quality_focal_loss": lambda t, _: room.quality_focal_loss(t["x"], t["soft"]),
    "quality_focal_loss_with_labels": lambda t, _: room.quality_focal_loss_with_labels(
        t["x"], t["labels"], t["quality"]
    ),
    "varifocal_loss": lambda t, _: room.varifocal_loss(t["x"], t["soft"]),
    "varifocal_loss_with_labels": lambda t, _: room.varifocal_loss_with_labels(t["x"], t["labels"], t["quality"]),
    "distribution_focal_loss": lambda t, _: room.distribution_focal_loss(t["z"], t["distances"]),
    "distribution_expectation": lambda t, _: room.distribution_expectation(t["z"]),
    "generalized_focal_loss": lambda t, _: room.generalized_focal_loss(
        torch.stack([t["x"].sigmoid(), 1 - t["x"].sigmoid()], dim=-1), t["soft"], t["soft"] * 0, t["soft"] * 0 + 1
    ),
    "generalized_focal_detection_loss": lambda t, _: room.generalized_focal_detection_loss(
        t["x"], t["labels"], t["quality"], t["z"], t["distances"], t["giou"]
    ),
    "ghm_classification_loss": lambda t, bins: room.ghm_classification_loss(t["x"], t["y"], bins=bins, momentum=0.5),
    "ghm_classification_loss_with_labels": lambda t, bins: room.ghm_classification_loss_with_labels(
        t["x"], t["labels"], bins=bins, momentum=0.5, ema="full"
    ),
    "exact_ghm_classification_loss": lambda t, _: room.exact_ghm_classification_loss(t["x"], t["y"], epsilon=0.1),
    "authentic_smooth_l1_loss": lambda t, _: room.authentic_smooth_l1_loss(t["deltas"], t["zeros"]),
    "ghm_regression_loss": lambda t, bins: room.ghm_regression_loss(t["deltas"], t["zeros"], bins=bins, momentum=0.7),
    "exact_ghm_regression_loss": lambda t, _: room.exact_ghm_regression_loss(t["deltas"], t["zeros"], epsilon=0.1),
    "classification_aware_regression_loss": lambda t, _: room.classification_aware_regression_loss(
        t["x"], t["last"], t["giou"]
    ),
}
WEIGHTS = {
    "gradient_density": lambda t, _: room.gradient_density(t["soft"], epsilon=0.1),
    "harmonizing_weights": lambda t, _: room.harmonizing_weights(t["soft"], epsilon=0.1),
    "unit_region_weights": lambda t, bins: room.unit_region_weights(t["soft"], bins=bins, momentum=0.5),
    "isr_p_weights": lambda t, _: room.isr_p_weights(
        t["quality"], t["giou"].detach(), t["labels"], t["objects"], num_classes=t["x"].shape[-1]
    ),
    "iou_hierarchical_local_rank": lambda t, _: room.iou_hierarchical_local_rank(
        t["quality"], t["labels"], t["objects"], num_classes=t["x"].shape[-1]
    ),
    "nms_match": lambda t, _: room.nms_match(t["boxes"], t["quality"]),
    "score_hierarchical_local_rank": lambda t, _: room.score_hierarchical_local_rank(t["quality"], t["objects"] - 1),
    "isr_n_weights": lambda t, _: (
        room.isr_n_weights(t["quality"], t["boxes"], t["soft"], t["keys"], num_expected=2).weights
    ),
}


@pytest.mark.parametrize("device", [*DEVICES, "meta"])
@pytest.mark.parametrize("entry", EXAMPLES)
def test_nothing_waits(entry, device):
    """Forward or backward, on any device; there is no loop over candidates, and no shape depends on values."""
    function, example = function_of(entry, device), EXAMPLES[entry]
    called = []
    for n in [SMALL] if example.fixed else [SMALL, LARGER]:
        arguments = example.arguments(n, device=device)
        with Operators() as operators:
            results_and_gradients(function, entry, arguments)
        assert operators.waiting == []
        called.append(operators.names)

    assert called[0]
    assert all(names == called[0] for names in called)


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_noticed(name):
    """Each would run on the CPU: in a forward pass, and in a backward pass."""
    waits, reason = WAITING[name]
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.clone()
    y.register_hook(lambda gradient: gradient + 0 * waits(gradient).sum())

    with Operators() as forward:
        waits(x)
    with Operators() as backward:
        y.sum().backward()

    assert reason in {found for _, found in forward.waiting}
    assert reason in {found for _, found in backward.waiting}


@pytest.mark.parametrize("waits", [torch.Tensor.tolist, torch.Tensor.numpy])
def test_what_no_operator_shows_is_an_error_on_the_meta_device(waits):
    x = torch.ones(3, device="meta")

    with pytest.raises((NotImplementedError, TypeError), match="meta"):  # PyTorch's own errors: there is no data
        waits(x)


def test_a_copy_between_devices_is_noticed():
    x = torch.ones(3)

    with Operators() as operators:
        x.to("meta")

    assert BETWEEN_DEVICES in {found for _, found in operators.waiting}


def test_an_operator_of_our_own_is_looked_into():
    """It counts as one, and what waits in it is found."""

    @torch.library.custom_op("steelyard_test::waits", mutates_args=())
    def waits(x: torch.Tensor) -> torch.Tensor:
        return x * x.sum().item()

    x = torch.ones(3)

    with Operators() as operators:
        waits(x)

    assert operators.names == ["waits"]
    assert [found for _, found in operators.waiting] == [TO_THE_HOST]


def _dispatched(name, *, bins, images, anchors, classes):
    inputs = _inputs(images, anchors, classes)
    with Operators() as operators:
        answer = {**CALLS, **WEIGHTS}[name](inputs, bins)
        if name in CALLS:
            parts = answer if isinstance(answer, tuple) else (answer,)
            sum(part.sum() for part in parts if part.requires_grad).backward()
    return operators.names


@pytest.mark.parametrize("name", [*CALLS, *WEIGHTS])
def test_the_number_of_operators_depends_on_no_size(name):
    """There is no loop over bins, images or classes. For both 2 and 64 bins a product tells the region."""
    small = _dispatched(name, bins=2, images=2, anchors=5, classes=2)
    large = _dispatched(name, bins=64, images=7, anchors=11, classes=9)

    assert len(small) > 1
    assert small == large


def _peak_bytes(call):
    """Most that the CPU's allocator has handed out at once."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


MEASURED = {
    "ghm_classification_loss": lambda t: room.ghm_classification_loss(t["x"], t["y"], bins=30).loss,
    "ghm_classification_loss_with_labels": lambda t: (
        room.ghm_classification_loss_with_labels(t["x"], t["labels"], bins=30, momentum=0.75).loss
    ),
    "ghm_regression_loss": lambda t: room.ghm_regression_loss(t["x"], t["targets"]).loss,
    "classification_aware_regression_loss": lambda t: room.classification_aware_regression_loss(
        t["x"], t["labels"], t["labels"].float(), activation="sigmoid"
    ),
    "classification_aware_regression_loss softmax": lambda t: room.classification_aware_regression_loss(
        t["x"], t["labels"].clamp(max=39), t["labels"].float()
    ),
    "exact_ghm_classification_loss": lambda t: room.exact_ghm_classification_loss(t["x"], t["y"], epsilon=0.1),
    "exact_ghm_regression_loss": lambda t: room.exact_ghm_regression_loss(t["x"], t["targets"], epsilon=0.1),
    "generalized_focal_detection_loss": lambda t: room.generalized_focal_detection_loss(
        t["x"], t["labels"], t["quality"], t["z"], t["z"][..., 0].detach().abs(), t["quality"]
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", MEASURED)
def test_forward_and_backward_need_little_more_than_the_logits(name, dtype):
    """At most 1.5 times their size, the gradient included."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8000, 40, generator=generator).to(dtype).requires_grad_()
    z = torch.randn(2, 8000, 4, 17, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(-1, 41, (2, 8000), generator=generator)
    quality = torch.rand(2, 8000, generator=generator).to(dtype)
    targets = torch.zeros(x.shape, dtype=dtype)
    tensors = {"x": x, "y": (x > 2).long(), "z": z, "labels": labels, "quality": quality, "targets": targets}

    peak = _peak_bytes(lambda: MEASURED[name](tensors).backward())

    logits = sum(tensor.nbytes for tensor in (x, z) if tensor.grad is not None)
    assert peak > logits, "the profiler has seen the gradient"
    assert peak < 1.5 * logits, peak / logits
