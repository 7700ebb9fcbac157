"""GHM-C: agreement with the reference, and what only the implementation promises."""

from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from steelyard.impl import slices
from steelyard.impl.soft_sampling.ghm import (
    GHMClassificationLoss,
    cross_entropy_gradient_norm,
    exact_ghm_classification_loss,
    ghm_classification_loss,
    ghm_classification_loss_with_labels,
)
from steelyard.impl.soft_sampling.gradient_density import unit_region_counts
from steelyard.reference.soft_sampling import ghm as reference
from steelyard.reference.soft_sampling import gradient_density as reference_density

# torch.compile itself does what torch deprecates: makes an instance of autograd.Function, uses torch.jit
TRACES_AUTOGRAD_FUNCTIONS = pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning", "ignore:.*torch.jit.*is deprecated:DeprecationWarning"
)
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}
BATCH = (2, 40, 5)


def _batch(seed, dtype=torch.float64, shape=BATCH):
    """Logits as a detector gives them (mostly easy, a few outliers), labels, targets, and a mask."""
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(shape, generator=generator, dtype=torch.float64) - 3).to(dtype)
    labels = torch.randint(-1, shape[-1] + 1, shape[:-1], generator=generator)
    targets = torch.randint(0, 2, shape, generator=generator)
    valid = torch.rand(shape, generator=generator) < 0.7
    return logits.requires_grad_(), labels, targets, valid


def _numpy(tensor):
    return tensor.detach().double().numpy()


def _close(actual, expected, dtype):
    np.testing.assert_allclose(_numpy(actual), expected, rtol=DTYPES[dtype], atol=1e-12)


def _close_gradient(actual, expected, dtype):
    """The gradient of a half input is rounded to half."""
    rounding = 0.0 if dtype in (torch.float64, torch.float32) else float(torch.finfo(dtype).eps)
    smallest = float(torch.finfo(dtype).smallest_normal) * rounding
    np.testing.assert_allclose(_numpy(actual), expected, rtol=DTYPES[dtype] + rounding, atol=1e-12 + smallest)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("norm", "ema"), list(product(reference_density.NORMS, reference_density.MOVING_AVERAGES)))
def test_targets_agree_with_the_reference(dtype, norm, ema):
    """Loss, gradient and state, over two mini-batches."""
    options = {"bins": 30, "norm": norm, "ema": ema, "momentum": 0.75}
    state, expected_state = None, None

    for seed in range(2):
        logits, _, targets, valid = _batch(seed, dtype)
        loss, state = ghm_classification_loss(logits, targets, valid, state, **options)
        (gradient,) = torch.autograd.grad(loss, logits)

        inputs = (_numpy(logits), targets, valid, expected_state)
        expected, new_state = reference.ghm_classification_loss(*inputs, **options)
        _close(loss, expected, dtype)
        _close(state, new_state, dtype)
        _close_gradient(gradient, reference.ghm_classification_loss_grad(*inputs, **options), dtype)
        assert loss.dtype == torch.promote_types(dtype, torch.float32)
        expected_state = new_state


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", reference.REDUCTIONS)
def test_labels_agree_with_the_reference(dtype, reduction):
    """Background and ignored anchors among them; the upstream gradient is used."""
    logits, labels, _, _ = _batch(2, dtype)
    options = {"bins": 10, "reduction": reduction}

    loss, _ = ghm_classification_loss_with_labels(logits, labels, **options)
    upstream = torch.linspace(-1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    (gradient,) = torch.autograd.grad(loss, logits, upstream)

    _close(loss, reference.ghm_classification_loss_with_labels(_numpy(logits), labels, **options).loss, dtype)
    expected = reference.ghm_classification_loss_with_labels_grad(_numpy(logits), labels, **options)
    _close_gradient(gradient, expected * _numpy(upstream), dtype)


@pytest.mark.parametrize("small", [8, slices.SMALL], ids=["few at a time", "all at once"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", reference.REDUCTIONS)
def test_exact_density_agrees_with_the_reference(dtype, reduction, small, monkeypatch):
    """One sort, or the sorts of a few at a time, instead of the loop over pairs."""
    monkeypatch.setattr(slices, "SMALL", small)
    logits, _, targets, valid = _batch(3, dtype)
    options = {"epsilon": 0.1, "reduction": reduction}

    loss = exact_ghm_classification_loss(logits, targets, valid, **options)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)

    _close(loss, reference.exact_ghm_classification_loss(_numpy(logits), targets, valid, **options), dtype)
    expected = reference.exact_ghm_classification_loss_grad(_numpy(logits), targets, valid, **options)
    _close_gradient(gradient, expected, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_hard_logits_agree_with_the_reference(dtype):
    """Zero (a region edge), saturation, the range of the dtype, infinities, NaN, ignored NaN."""
    largest = torch.finfo(dtype).max
    hard = [0.0, -0.0, 1e-30, 40.0, -40.0, 120.0, -120.0, largest, -largest, torch.inf, -torch.inf, torch.nan]
    logits = torch.tensor(hard * 2 + [torch.nan, torch.inf], dtype=dtype, requires_grad=True)
    targets = torch.tensor([0] * 12 + [1] * 12 + [0, 0])
    valid = torch.tensor([True] * 24 + [False] * 2)

    loss, _ = ghm_classification_loss(logits, targets, valid, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), logits)

    inputs = (_numpy(logits), targets, valid)
    _close(loss, reference.ghm_classification_loss(*inputs, reduction="none").loss, dtype)
    _close(gradient, reference.ghm_classification_loss_grad(*inputs), dtype)
    assert loss[-2:].tolist() == gradient[-2:].tolist() == [0.0, 0.0]


def test_gradient_norm_is_the_reference():
    """No subtraction: 1 - p keeps its digits."""
    logits, _, targets, _ = _batch(0)

    actual = cross_entropy_gradient_norm(logits, targets)

    np.testing.assert_allclose(_numpy(actual), reference.cross_entropy_gradient_norm(_numpy(logits), targets), 1e-14)


@pytest.mark.parametrize("logits_dtype", [torch.float64, torch.float16], ids=str)
def test_real_detector_outputs_agree_with_the_reference(logits_dtype):
    """Three images of a one-stage detector: the histogram of ten regions, loss and gradient."""
    with np.load(str(files("steelyard.conformance") / "data" / "nanodet320_dense.npz")) as data:
        logits = torch.from_numpy(data["cls_logits"]).to(logits_dtype).requires_grad_()
        first = data["gt_offset"][:-1, None]
        assigned = data["assigned_gt"]
        labels = torch.from_numpy(np.where(assigned >= 0, data["gt_class"][first + assigned], 80).astype(np.int64))
    options = {"bins": 10, "momentum": 0.75}

    foreground = labels[..., None] == torch.arange(80)
    counts = unit_region_counts(cross_entropy_gradient_norm(logits, foreground))
    loss, state = ghm_classification_loss_with_labels(logits, labels, **options)
    (gradient,) = torch.autograd.grad(loss, logits)

    expected_norms = reference.cross_entropy_gradient_norm(_numpy(logits), foreground)
    assert counts.tolist() == reference_density.unit_region_counts(expected_norms).tolist()
    assert counts.sum() == 3 * 2100 * 80
    np.testing.assert_allclose(state, 0.25 * counts)
    expected = reference.ghm_classification_loss_with_labels(_numpy(logits), labels, **options)
    _close(loss, expected.loss, logits_dtype)
    expected_gradient = reference.ghm_classification_loss_with_labels_grad(_numpy(logits), labels, **options)
    _close_gradient(gradient, expected_gradient, logits_dtype)


def test_weights_are_detached_and_the_rest_is_smooth():
    """Inside its region the loss of an example has first and second derivatives."""
    logits, labels, targets, valid = _batch(4, shape=(2, 3, 2))

    for function in (
        lambda x: ghm_classification_loss(x, targets, valid).loss,
        lambda x: ghm_classification_loss(x, targets, valid, reduction="none").loss,
        lambda x: ghm_classification_loss_with_labels(x, labels, norm="M").loss,
    ):
        assert gradcheck(function, logits)
        assert gradgradcheck(function, logits)


def test_exact_second_derivative_keeps_the_weights():
    """The derivative of the gradient is weight * p * (1 - p) / N."""
    logits, _, targets, valid = _batch(4)
    loss = exact_ghm_classification_loss(logits, targets, valid, epsilon=0.1)

    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), logits)

    g = cross_entropy_gradient_norm(logits, targets)
    weights = reference_density.harmonizing_weights(_numpy(g), valid, epsilon=0.1)
    np.testing.assert_allclose(second, weights * _numpy(g * (1 - g)) / valid.sum().item(), rtol=1e-12)


def test_batch_is_one_histogram():
    """Not one an image: the batch is as one long list of examples."""
    logits, labels, _, _ = _batch(5)

    batched = ghm_classification_loss_with_labels(logits, labels).loss

    torch.testing.assert_close(
        batched, ghm_classification_loss_with_labels(logits.flatten(0, 1), labels.flatten()).loss
    )
    images = [ghm_classification_loss_with_labels(x, y).loss for x, y in zip(logits, labels, strict=True)]
    assert (batched - sum(images) / 2).abs() > 1e-3


def test_padding_changes_nothing():
    """Anchors of label -1, with whatever logits, are not examples."""
    logits, labels, _, _ = _batch(6)
    padded = torch.cat([logits, torch.full((2, 7, 5), torch.nan)], dim=1)
    padded_labels = torch.cat([labels, torch.full((2, 7), -1)], dim=1)

    loss, state = ghm_classification_loss_with_labels(padded, padded_labels, momentum=0.5)
    (gradient,) = torch.autograd.grad(loss, padded)

    expected = ghm_classification_loss_with_labels(logits, labels, momentum=0.5)
    torch.testing.assert_close((loss, state), tuple(expected))
    assert (gradient[:, 40:] == 0).all()


def test_no_example_is_zero_with_a_graph():
    """All ignored, or no anchor: loss 0, gradient 0."""
    for shape in ((2, 3, 5), (2, 0, 5)):
        logits = torch.randn(shape, requires_grad=True)
        loss, _ = ghm_classification_loss_with_labels(logits, torch.full(shape[:2], -1))
        loss.backward()
        assert loss == 0
        assert (logits.grad == 0).all()
        assert exact_ghm_classification_loss(logits, torch.zeros(shape).int(), epsilon=0.1).isfinite()


@pytest.mark.parametrize("shape", [BATCH, (1, 27000, 10)])
def test_any_layout_agrees(shape):
    """Channels before anchors, as a head gives them; the second input is computed in slices."""
    logits, labels, targets, valid = _batch(7, torch.float32, shape)
    head = logits.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()

    for function in (
        lambda x: ghm_classification_loss_with_labels(x, labels, bins=30).loss,
        lambda x: ghm_classification_loss(x, targets, valid, bins=30, reduction="none").loss,
        lambda x: exact_ghm_classification_loss(x[:, :40], targets[:, :40], valid[:, :40], epsilon=0.1),
    ):
        loss, by_head = function(logits), function(head)
        torch.testing.assert_close(by_head, loss)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        torch.testing.assert_close(torch.autograd.grad(by_head.sum(), head)[0], gradient)
    assert not head.is_contiguous()


def test_slices_agree_with_the_reference():
    """An input large enough to be computed in parts."""
    logits, labels, _, _ = _batch(9, torch.float32, (1, 27000, 10))

    loss, _ = ghm_classification_loss_with_labels(logits, labels, bins=10)
    (gradient,) = torch.autograd.grad(loss, logits)

    expected = reference.ghm_classification_loss_with_labels(_numpy(logits), labels, bins=10).loss
    np.testing.assert_allclose(_numpy(loss), expected, rtol=1e-5)
    expected = reference.ghm_classification_loss_with_labels_grad(_numpy(logits), labels, bins=10)
    np.testing.assert_allclose(_numpy(gradient), expected, rtol=1e-5)


def test_inputs_stay_and_only_they_are_kept():
    """Nothing is written to; what autograd saves beyond the inputs is one number a region."""
    logits, labels, _, _ = _batch(10)
    state = torch.ones(10, dtype=torch.float64)
    before = [tensor.detach().clone() for tensor in (logits, labels, state)]
    owned = {tensor.untyped_storage().data_ptr() for tensor in (logits, labels)}
    saved = []

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        loss, _ = ghm_classification_loss_with_labels(logits, labels, state, momentum=0.5)
    loss.backward()

    assert all(torch.equal(a.detach(), b) for a, b in zip((logits, labels, state), before, strict=True))
    extra = [t.untyped_storage().nbytes() for t in saved if t.untyped_storage().data_ptr() not in owned]
    assert sum(extra) <= labels.numel() + 16 * 8  # the mask of the anchors, the table, the channel numbers


def test_peak_memory_is_below_one_and_a_half_logits():
    """Forward and backward, the gradient itself included."""
    logits = torch.randn(2, 10000, 80).requires_grad_()
    labels = torch.randint(-1, 81, (2, 10000))

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        ghm_classification_loss_with_labels(logits, labels, bins=30).loss.backward()

    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    size = logits.numel() * logits.element_size()
    assert size <= np.cumsum(changes).max() <= 1.5 * size


def test_module_keeps_its_state():
    """Changed by training calls only, saved and loaded."""
    logits, labels, targets, valid = _batch(11, torch.float32)
    options = {"bins": 30, "momentum": 0.75, "norm": "M", "ema": "full"}
    module = GHMClassificationLoss(**options)

    first = module(logits, labels)
    after_first = module.state.clone()
    second = module(logits, targets, valid)
    after_second = module.state.clone()
    module.eval()
    module(logits, labels)

    expected = ghm_classification_loss_with_labels(logits, labels, **options)
    torch.testing.assert_close((first, after_first), tuple(expected))
    torch.testing.assert_close(
        (second, after_second), tuple(ghm_classification_loss(logits, targets, valid, after_first, **options))
    )
    assert torch.equal(module.state, after_second)
    loaded = GHMClassificationLoss(**options)
    loaded.load_state_dict(module.state_dict())
    assert torch.equal(loaded.state, after_second)
    assert list(module.state_dict()) == ["state"]
    assert repr(module) == "GHMClassificationLoss(bins=30, norm='M', momentum=0.75, ema='full')"


def test_module_without_momentum_has_no_history():
    """The buffer stays at zero."""
    logits, labels, _, _ = _batch(11)
    module = GHMClassificationLoss()

    loss = module(logits, labels)

    torch.testing.assert_close(loss, ghm_classification_loss_with_labels(logits, labels).loss)
    assert module.state.tolist() == [0.0] * 10
    with pytest.raises(ValueError, match="valid: expected None beside labels"):
        module(logits, labels, logits > 0)


def test_vmap_is_one_histogram_a_call():
    """Under vmap every image has its own density; gradients too."""
    logits, labels, targets, _ = _batch(13)
    logits = logits.detach()

    for function, second in (
        (lambda x, y: ghm_classification_loss_with_labels(x, y).loss, labels),
        (lambda x, y: ghm_classification_loss(x, y, reduction="none").loss.sum(), targets),
        (lambda x, y: exact_ghm_classification_loss(x, y, epsilon=0.1), targets),
    ):
        gradient = torch.func.grad(function)
        for f in (function, gradient):
            expected = torch.stack([f(x, y) for x, y in zip(logits, second, strict=True)])
            torch.testing.assert_close(torch.vmap(f)(logits, second), expected)


def test_runs_without_data():
    """On the meta device nothing can look at a value."""
    logits, labels, targets, valid = (tensor.to("meta") for tensor in _batch(0))

    assert ghm_classification_loss_with_labels(logits, labels, momentum=0.5).state.shape == (10,)
    assert ghm_classification_loss(logits, targets, valid, reduction="none").loss.shape == BATCH
    assert exact_ghm_classification_loss(logits, targets, valid, epsilon=0.1).shape == ()
    logits = logits.detach().requires_grad_()
    ghm_classification_loss(logits, targets).loss.backward()
    assert logits.grad.shape == BATCH


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@TRACES_AUTOGRAD_FUNCTIONS
def test_compiles_whole(backend):
    """No graph break, forward and backward, in a training step with its state."""
    logits, labels, _, _ = _batch(14, torch.float32)

    def step(logits, labels, state):
        return ghm_classification_loss_with_labels(logits, labels, state, bins=30, momentum=0.75)

    compiled = torch.compile(step, fullgraph=True, backend=backend)(logits, labels, torch.zeros(30))
    (gradient,) = torch.autograd.grad(compiled.loss, logits)

    expected = step(logits, labels, torch.zeros(30))
    torch.testing.assert_close(tuple(compiled), tuple(expected))
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.loss, logits)[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: ghm_classification_loss(x.int(), y), TypeError, "logits: expected a floating dtype"),
        (lambda x, _: ghm_classification_loss(x, x), TypeError, "targets: expected a bool or integer dtype"),
        (lambda x, y: ghm_classification_loss(x, y[:1]), ValueError, "targets: expected shape"),
        (lambda x, y: ghm_classification_loss(x, y, y[:1]), ValueError, "valid: expected shape"),
        (lambda x, y: ghm_classification_loss(x, y, None, torch.zeros(3)), ValueError, "state: expected shape"),
        (lambda x, y: ghm_classification_loss(x, y, bins=0), ValueError, "bins: expected an int >= 1"),
        (lambda x, y: ghm_classification_loss(x, y, reduction="mean"), ValueError, "reduction: expected one of"),
        (lambda x, y: ghm_classification_loss_with_labels(x, y[:, 0, None]), ValueError, "labels: expected shape"),
        (lambda x, y: ghm_classification_loss_with_labels(x[0, 0], y[0, 0]), ValueError, "logits: expected shape"),
        (lambda x, y: exact_ghm_classification_loss(x, y, epsilon=2.5), ValueError, "epsilon: expected a number in"),
        (lambda *_: GHMClassificationLoss(bins=0), ValueError, "bins: expected an int >= 1"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    """Shapes, dtypes and Python numbers are checked."""
    with pytest.raises(error, match=message):
        call(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64))


@TRACES_AUTOGRAD_FUNCTIONS
@pytest.mark.parametrize(("bins", "nan"), [(1, False), (3, True), (10, False), (10, True), (30, False)])
def test_compiled_losses_by_region_agree_with_the_reference(bins, nan):
    """Its own formulas, where errors are 0, tiny, 1 and NaN, where anchors are ignored, and where regions are empty."""
    extreme = [-torch.inf, -200.0, -89.0, -30.0, -1e-3, 0.0, 1e-3, 2.0, 17.0, 30.0, 89.0, 200.0]
    logits = torch.tensor([extreme, [-4.0, -3.0] * 6, [torch.nan if nan else 1.0] * 12], requires_grad=True)
    labels = torch.tensor([12, 1, -1])  # the NaN stand in an ignored anchor, and one in the anchor of class 1
    if nan:
        logits.data[1, 0] = torch.nan

    def step(logits, labels):
        return ghm_classification_loss_with_labels(logits, labels, bins=bins)

    torch.compiler.reset()
    result = torch.compile(step, fullgraph=True)(logits, labels)
    (gradient,) = torch.autograd.grad(result.loss, logits)

    arguments = logits.detach().double().numpy(), labels.numpy()
    expected = reference.ghm_classification_loss_with_labels(*arguments, bins=bins)
    _close(result.loss, expected.loss, torch.float32)
    assert bool(result.loss.isnan()) == nan
    by_logit = reference.ghm_classification_loss_with_labels_grad(*arguments, bins=bins)
    np.testing.assert_allclose(_numpy(gradient), by_logit, rtol=4e-6, atol=1e-37)
