"""GHM-R: agreement with the reference, and what only the implementation promises."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from steelyard.impl import slices
from steelyard.impl.soft_sampling.ghm_regression import (
    GHMRegressionLoss,
    authentic_smooth_l1_gradient_norm,
    authentic_smooth_l1_loss,
    exact_ghm_regression_loss,
    ghm_regression_loss,
)
from steelyard.reference.soft_sampling import ghm_regression as reference
from steelyard.reference.soft_sampling import gradient_density as reference_density

# torch.compile itself makes an instance of autograd.Function, which torch deprecates
TRACES_AUTOGRAD_FUNCTIONS = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-6, torch.bfloat16: 2e-6}


def _batch(seed, dtype=torch.float64, shape=(2, 40, 4)):
    """Box deltas around mu and far beyond, and the coordinates that count."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.rand(shape, generator=generator, dtype=torch.float64).pow(4)
    predictions = (size * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
    targets = (0.01 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
    valid = torch.rand(shape, generator=generator) < 0.6
    return predictions.requires_grad_(), targets, valid


def _numpy(tensor):
    return tensor.detach().double().numpy()


def _close(actual, expected, dtype, rounding=0.0):
    np.testing.assert_allclose(
        _numpy(actual), expected, rtol=DTYPES[dtype] + rounding, atol=1e-9 * (dtype.itemsize < 8)
    )


def _gradient_rounding(dtype):
    """The gradient of a half input is rounded to half."""
    return float(torch.finfo(dtype).eps) if dtype.itemsize < 4 else 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_authentic_smooth_l1_agrees_with_the_reference(dtype):
    """Element losses and gradient norms; the derivative with respect to the target is the negative."""
    predictions, targets, _ = _batch(0, dtype)
    targets.requires_grad_()

    loss = authentic_smooth_l1_loss(predictions, targets)
    by_prediction, by_target = torch.autograd.grad(loss.sum(), (predictions, targets))

    inputs = (_numpy(predictions), _numpy(targets))
    _close(loss, reference.authentic_smooth_l1_loss(*inputs), dtype)
    expected = reference.authentic_smooth_l1_loss_grad(*inputs)
    _close(by_prediction, expected, dtype, _gradient_rounding(dtype))
    _close(by_target, -expected, dtype, _gradient_rounding(dtype))
    norms = authentic_smooth_l1_gradient_norm(predictions, targets)
    _close(norms, np.abs(expected), dtype)
    assert not norms.requires_grad


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("norm", "ema"), list(product(reference_density.NORMS, reference_density.MOVING_AVERAGES)))
def test_loss_agrees_with_the_reference(dtype, norm, ema):
    """Loss, gradient and state, over two mini-batches."""
    options = {"bins": 10, "norm": norm, "ema": ema, "momentum": 0.7}
    state, expected_state = None, None

    for seed in range(2):
        predictions, targets, valid = _batch(seed, dtype)
        loss, state = ghm_regression_loss(predictions, targets, valid, state, **options)
        (gradient,) = torch.autograd.grad(loss, predictions)

        inputs = (_numpy(predictions), _numpy(targets), valid, expected_state)
        expected, new_state = reference.ghm_regression_loss(*inputs, **options)
        _close(loss, expected, dtype)
        _close(state, new_state, dtype)
        expected = reference.ghm_regression_loss_grad(*inputs, **options)
        _close(gradient, expected, dtype, _gradient_rounding(dtype))
        assert loss.dtype == torch.promote_types(dtype, torch.float32)
        expected_state = new_state


@pytest.mark.parametrize("small", [8, slices.SMALL], ids=["few at a time", "all at once"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_exact_density_agrees_with_the_reference(dtype, reduction, small, monkeypatch):
    """One sort, or the sorts of a few at a time, instead of the loop over pairs."""
    monkeypatch.setattr(slices, "SMALL", small)
    predictions, targets, valid = _batch(2, dtype)
    options = {"epsilon": 0.1, "reduction": reduction}

    loss = exact_ghm_regression_loss(predictions, targets, valid, **options)
    (gradient,) = torch.autograd.grad(loss.sum(), predictions)

    inputs = (_numpy(predictions), _numpy(targets), valid)
    _close(loss, reference.exact_ghm_regression_loss(*inputs, **options), dtype)
    expected = reference.exact_ghm_regression_loss_grad(*inputs, **options)
    _close(gradient, expected, dtype, _gradient_rounding(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_hard_differences_agree_with_the_reference(dtype):
    """Far below and above mu, the range of the dtype, infinities, NaN; no square, no cancellation."""
    largest = torch.finfo(dtype).max
    hard = [0.0, 1e-6, -1e-12, 300.0, 1e19, largest, -largest, torch.inf, -torch.inf, torch.nan, torch.nan]
    predictions = torch.tensor(hard, dtype=dtype, requires_grad=True)
    targets, valid = torch.zeros(len(hard), dtype=dtype), torch.tensor([True] * 10 + [False])

    loss, _ = ghm_regression_loss(predictions, targets, valid, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), predictions)

    inputs = (_numpy(predictions), _numpy(targets), valid)
    rtol = DTYPES[dtype]
    np.testing.assert_allclose(_numpy(loss), reference.ghm_regression_loss(*inputs, reduction="none").loss, rtol)
    np.testing.assert_allclose(_numpy(gradient), reference.ghm_regression_loss_grad(*inputs), rtol)


def test_half_predictions_with_float_targets():
    """The difference is taken in float32, after widening."""
    predictions, targets = torch.tensor([1.0], dtype=torch.float16), torch.tensor([0.99999])

    loss = authentic_smooth_l1_loss(predictions, targets)

    np.testing.assert_allclose(loss, reference.authentic_smooth_l1_loss([1.0], targets.double().numpy()), rtol=1e-6)


def test_weights_are_detached_and_the_rest_is_smooth():
    """Inside its region the loss of a coordinate has first and second derivatives, by target as well."""
    predictions, targets, valid = _batch(3, shape=(2, 2, 4))
    targets.requires_grad_()

    for function in (
        lambda p, t: authentic_smooth_l1_loss(p, t, mu=0.5),
        lambda p, t: ghm_regression_loss(p, t, valid, mu=0.5).loss,
        lambda p, t: ghm_regression_loss(p, t, valid, mu=0.5, reduction="none").loss,
    ):
        assert gradcheck(function, (predictions, targets))
        assert gradgradcheck(function, (predictions, targets))


def test_padding_layout_and_emptiness():
    """Coordinates that do not count, whatever they hold; any layout; none at all."""
    predictions, targets, valid = _batch(4)
    expected = ghm_regression_loss(predictions, targets, valid, momentum=0.7)
    spoilt = torch.where(valid, predictions, torch.nan)

    padded = ghm_regression_loss(spoilt, targets, valid, momentum=0.7)
    turned = ghm_regression_loss(predictions.mT, targets.mT, valid.mT, momentum=0.7)

    torch.testing.assert_close(tuple(padded), tuple(expected))
    torch.testing.assert_close(tuple(turned), tuple(expected))
    (gradient,) = torch.autograd.grad(padded.loss, spoilt)
    assert (gradient[~valid] == 0).all()
    for nothing in (predictions[:, :0], predictions):
        loss = ghm_regression_loss(nothing, torch.zeros_like(nothing), torch.zeros_like(nothing).bool()).loss
        assert loss == 0
        assert (torch.autograd.grad(loss, predictions)[0] == 0).all()


def test_slices_agree_with_the_reference():
    """An input large enough to be computed in parts."""
    predictions, targets, valid = _batch(5, torch.float64, (70000, 4))

    for reduction in ("sum", "none"):
        loss, _ = ghm_regression_loss(predictions, targets, valid, reduction=reduction)
        (gradient,) = torch.autograd.grad(loss.sum(), predictions)
        inputs = (_numpy(predictions), targets, valid)
        _close(loss, reference.ghm_regression_loss(*inputs, reduction=reduction).loss, torch.float64)
        _close(gradient, reference.ghm_regression_loss_grad(*inputs), torch.float64)


def test_module_keeps_its_state():
    """Changed by training calls only, saved and loaded; inputs stay."""
    predictions, targets, valid = _batch(6, torch.float32)
    before = predictions.detach().clone()
    module = GHMRegressionLoss(mu=0.05, bins=5, momentum=0.7)

    first = module(predictions, targets, valid)
    after_first = module.state.clone()
    module.eval()
    module(predictions, targets, valid)

    expected = ghm_regression_loss(predictions, targets, valid, mu=0.05, bins=5, momentum=0.7)
    torch.testing.assert_close((first, after_first), tuple(expected))
    assert torch.equal(module.state, after_first)
    loaded = GHMRegressionLoss(bins=5)
    loaded.load_state_dict(module.state_dict())
    assert torch.equal(loaded.state, after_first)
    assert torch.equal(predictions, before)
    assert repr(module) == "GHMRegressionLoss(mu=0.05, bins=5, norm='nonempty', momentum=0.7, ema='lazy')"


def test_vmap_is_one_histogram_a_call():
    """Under vmap every image has its own density."""
    predictions, targets, valid = _batch(7)

    for function in (
        lambda p, t, v: ghm_regression_loss(p, t, v).loss,
        lambda p, t, v: exact_ghm_regression_loss(p, t, v, epsilon=0.1),
        torch.func.grad(lambda p, t, v: ghm_regression_loss(p, t, v).loss),
    ):
        expected = torch.stack([function(*image) for image in zip(predictions, targets, valid, strict=True)])
        torch.testing.assert_close(torch.vmap(function)(predictions, targets, valid), expected)


@TRACES_AUTOGRAD_FUNCTIONS
def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, no graph break."""

    def everything(predictions, targets, valid):
        loss, state = ghm_regression_loss(predictions, targets, valid, momentum=0.7)
        return loss, state, exact_ghm_regression_loss(predictions, targets, valid, epsilon=0.1)

    inputs = _batch(8)

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(*inputs)
    (gradient,) = torch.autograd.grad(compiled[0], inputs[0])

    expected = everything(*inputs)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected[0], inputs[0])[0])
    without_data = everything(*(tensor.to("meta") for tensor in inputs))
    assert [tensor.shape for tensor in without_data] == [tensor.shape for tensor in expected]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: ghm_regression_loss(d.int(), d), TypeError, "predictions: expected a floating dtype"),
        (lambda d: ghm_regression_loss(d, d[:1]), ValueError, "targets: expected shape"),
        (lambda d: ghm_regression_loss(d, d, d[:1] > 0), ValueError, "valid: expected shape"),
        (lambda d: ghm_regression_loss(d, d, mu=0.0), ValueError, "mu: expected a number > 0"),
        (lambda d: ghm_regression_loss(d, d, reduction="mean"), ValueError, "reduction: expected one of"),
        (lambda d: authentic_smooth_l1_loss(d, d, mu=-1.0), ValueError, "mu: expected a number > 0"),
        (lambda d: exact_ghm_regression_loss(d, d, epsilon=0.0), ValueError, "epsilon: expected a number > 0"),
        (lambda _: GHMRegressionLoss(mu=0.0), ValueError, "mu: expected a number > 0"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    """Shapes, dtypes and Python numbers are checked."""
    with pytest.raises(error, match=message):
        call(torch.zeros(2, 4))
