"""CARL: agreement with the reference, and what only the implementation promises."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from steelyard.impl.soft_sampling.carl_loss import (
    ACTIVATIONS,
    classification_aware_regression_loss,
    classification_aware_regression_weights,
)
from steelyard.reference.soft_sampling import carl_loss as reference

DTYPES = {torch.float64: 1e-12, torch.float32: 4e-6, torch.float16: 4e-6, torch.bfloat16: 4e-6}


def _batch(seed, activation="softmax", dtype=torch.float64, shape=(2, 30)):
    """Logits, labels with background and padding, one regression loss a coordinate."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((*shape, 5), generator=generator, dtype=torch.float64)
    number_of_classes = 4 if activation == "softmax" else 5
    labels = torch.randint(-1, number_of_classes + 1, shape, generator=generator)
    losses = torch.rand((*shape, 4), generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_(), labels, losses.to(dtype).requires_grad_()


def _numpy(tensor):
    return tensor.detach().double().numpy()


def _close(actual, expected, dtype, scale=0.0):
    """A half gradient is rounded to half; l - mean cancels to the precision of the losses."""
    half = dtype in (torch.float16, torch.bfloat16)
    rounding = float(torch.finfo(dtype).eps) if half else 0.0
    np.testing.assert_allclose(_numpy(actual), expected, rtol=DTYPES[dtype] + rounding, atol=scale * DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("activation", "k", "b"), list(product(ACTIVATIONS, [0.0, 1.0, 2.5], [0.0, 0.2, 1.0])))
def test_loss_and_gradients_are_the_reference(dtype, activation, k, b):
    """Value, and the derivatives by logits and by regression losses."""
    logits, labels, losses = _batch(0, activation, dtype)
    options = {"activation": activation, "k": k, "b": b}

    loss = classification_aware_regression_loss(logits, labels, losses, **options)
    by_logits, by_losses = torch.autograd.grad(loss, (logits, losses))

    inputs = (_numpy(logits), labels, _numpy(losses))
    expected = reference.classification_aware_regression_loss_grad_logits(*inputs, **options)
    smallest = float(torch.finfo(dtype).smallest_normal) / DTYPES[dtype]
    np.testing.assert_allclose(
        _numpy(loss), reference.classification_aware_regression_loss(*inputs, **options), DTYPES[dtype]
    )
    _close(by_logits, expected, dtype, scale=max(abs(expected).max(), smallest if dtype == torch.float16 else 0.0))
    expected = reference.classification_aware_regression_loss_grad_regression_losses(*inputs, **options)
    _close(by_losses, expected, dtype, scale=smallest if dtype == torch.float16 else 0.0)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_weights_are_the_reference(activation):
    """Their sum is the number of positives, so that its derivative is 0."""
    logits, labels, _ = _batch(1, activation)

    c = classification_aware_regression_weights(logits, labels, activation=activation, k=2.0)
    (gradient,) = torch.autograd.grad(c.sum(), logits)

    expected = reference.classification_aware_regression_weights(_numpy(logits), labels, activation=activation, k=2.0)
    np.testing.assert_allclose(_numpy(c), expected, rtol=1e-13)
    assert gradient.abs().max() < 1e-14


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("activation", "b"), list(product(ACTIVATIONS, [0.0, 0.2])))
def test_hard_logits_agree_with_the_reference(dtype, activation, b):
    """Scores beyond the smallest float and next to 1; the range of the dtype, where b > 0."""
    logits = [[0.0, 0.0], [60.0, -60.0], [-60.0, 60.0], [-800.0, 800.0], [-801.0, 800.0], [30.0, 0.0]]
    if b > 0:
        largest = torch.finfo(dtype).max
        logits += [[largest, -largest], [-largest, largest], [largest, largest]]
    logits = torch.tensor(logits, dtype=dtype, requires_grad=True)
    labels, losses = torch.zeros(len(logits), dtype=torch.int64), torch.linspace(1, 2, len(logits), dtype=dtype)
    options = {"activation": activation, "b": b, "avg_factor": 1.0}

    loss = classification_aware_regression_loss(logits, labels, losses, **options)
    (gradient,) = torch.autograd.grad(loss, logits)

    inputs = (_numpy(logits), labels, _numpy(losses))
    np.testing.assert_allclose(
        _numpy(loss), reference.classification_aware_regression_loss(*inputs, **options), DTYPES[dtype]
    )
    expected = reference.classification_aware_regression_loss_grad_logits(*inputs, **options)
    tiny = float(torch.finfo(dtype).smallest_normal)
    np.testing.assert_allclose(_numpy(gradient), expected, rtol=10 * DTYPES[dtype], atol=tiny)


def test_all_scores_zero_are_the_plain_loss():
    """b = 0 and p = 0 exactly: c = 1, no NaN in the gradient."""
    largest = torch.finfo(torch.float32).max
    logits = torch.tensor([[-largest, largest]] * 2, requires_grad=True)
    labels = torch.zeros(2, dtype=torch.int64)

    for k in (0.0, 1.0, 2.0):
        c = classification_aware_regression_weights(logits, labels, k=k, b=0.0)
        assert c.tolist() == [1.0, 1.0]
        assert torch.autograd.grad((c * torch.tensor([1.0, 2.0])).sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize(("activation", "k", "b"), list(product(ACTIVATIONS, [0.0, 1.0, 2.5], [0.0, 0.2, 1.0])))
def test_first_and_second_derivatives(activation, k, b):
    """Through the score and the normaliser."""
    logits, labels, losses = _batch(2, activation, shape=(2, 3))
    labels[0, 0], labels[1, 0] = 0, 1

    def function(logits, losses):
        return classification_aware_regression_loss(logits, labels, losses, activation=activation, k=k, b=b)

    assert gradcheck(function, (logits, losses))
    assert gradgradcheck(function, (logits, losses))


def test_padding_changes_nothing():
    """Label -1 with NaN logits and losses; infinite ones of background."""
    logits, labels, losses = _batch(3)
    pad = torch.nn.functional.pad

    for activation, value in product(ACTIVATIONS, (torch.nan, torch.inf)):
        padded = pad(logits.detach(), (0, 0, 0, 4), value=value).requires_grad_()
        padded_losses = pad(losses.detach(), (0, 0, 0, 4), value=value).requires_grad_()
        loss = classification_aware_regression_loss(
            padded, pad(labels, (0, 4), value=-1), padded_losses, activation=activation
        )
        gradients = torch.autograd.grad(loss, (padded, padded_losses))
        expected = classification_aware_regression_loss(logits, labels, losses, activation=activation)
        torch.testing.assert_close(loss, expected)
        for gradient, whole in zip(gradients, torch.autograd.grad(expected, (logits, losses)), strict=True):
            torch.testing.assert_close(gradient[:, :30], whole)
            assert (gradient[:, 30:] == 0).all()


def test_no_infinity_beside_tiny_scores():
    """b = 0 and p = e^-800: the padding's share would be e^800 times as large. No step of the gradient is NaN."""
    logits = torch.tensor([[-800.0, 0.0], [0.0, 0.0]], requires_grad=True)

    for activation in ACTIVATIONS:
        with torch.autograd.set_detect_anomaly(True):
            loss = classification_aware_regression_loss(
                logits, torch.tensor([0, -1]), torch.ones(2), activation=activation, b=0.0
            )
            loss.backward()
        assert loss == 1


def test_no_positive_is_zero_with_a_graph():
    """Loss 0, gradient 0."""
    for activation, shape in product(ACTIVATIONS, ((2, 3, 5), (2, 0, 5))):
        logits, losses = torch.randn(shape, requires_grad=True), torch.rand(shape[:2], requires_grad=True)
        loss = classification_aware_regression_loss(
            logits, torch.full(shape[:2], -1), losses, activation=activation, b=0.0
        )
        loss.backward()
        assert loss == 0
        assert (logits.grad == 0).all()
        assert (losses.grad == 0).all()


def test_average_factor():
    """All samples but the ignored ones, a number, or a tensor."""
    logits, labels, losses = _batch(4)
    number = int((labels != -1).sum())

    loss = classification_aware_regression_loss(logits, labels, losses)

    for avg_factor in (number, float(number), torch.tensor(number)):
        same = classification_aware_regression_loss(logits, labels, losses, avg_factor=avg_factor)
        torch.testing.assert_close(same, loss)


def test_inputs_stay_and_any_layout():
    """Nothing is written to; channels before samples."""
    logits, labels, losses = _batch(5)
    before = [t.detach().clone() for t in (logits, labels, losses)]
    head = logits.detach().transpose(1, 2).contiguous().transpose(1, 2)

    for activation in ACTIVATIONS:
        loss = classification_aware_regression_loss(logits, labels, losses, activation=activation)
        loss.backward()
        by_head = classification_aware_regression_loss(head, labels, losses, activation=activation)
        torch.testing.assert_close(by_head, loss)
    assert all(torch.equal(a.detach(), b) for a, b in zip((logits, labels, losses), before, strict=True))


def test_vmap_is_one_normaliser_a_call():
    """Under vmap every image has its own; gradients too."""
    logits, labels, losses = (t.detach() for t in _batch(6))

    for activation in ACTIVATIONS:

        def function(logits, labels, losses, activation=activation):
            return classification_aware_regression_loss(logits, labels, losses, activation=activation)

        for f in (function, torch.func.grad(function)):
            rows = [f(*row) for row in zip(logits, labels, losses, strict=True)]
            torch.testing.assert_close(torch.vmap(f)(logits, labels, losses), torch.stack(rows))


def test_runs_without_data():
    """On the meta device nothing can look at a value."""
    for activation in ACTIVATIONS:
        logits, labels, losses = (t.detach().to("meta") for t in _batch(0, activation))
        logits.requires_grad_()
        classification_aware_regression_loss(logits, labels, losses, activation=activation).backward()
        assert logits.grad.shape == (2, 30, 5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_compiles_whole(activation):
    """No graph break, forward and backward."""
    logits, labels, losses = _batch(8, activation, torch.float32)

    def function(logits, labels, losses):
        return classification_aware_regression_loss(logits, labels, losses, activation=activation)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")(logits, labels, losses)
    gradients = torch.autograd.grad(compiled, (logits, losses))

    expected = function(logits, labels, losses)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (logits, losses)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": torch.zeros(2, 1)}, ValueError, "logits: expected shape"),
        ({"logits": torch.zeros(2, 0), "activation": "sigmoid"}, ValueError, "logits: expected shape"),
        ({"logits": torch.zeros(2, 2).int()}, TypeError, "logits: expected a floating dtype"),
        ({"labels": torch.zeros(2)}, TypeError, "labels: expected a bool or integer dtype"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, ValueError, "labels: expected shape"),
        ({"regression_losses": torch.zeros(3)}, ValueError, "regression_losses: expected shape"),
        ({"activation": "relu"}, ValueError, "activation: expected one of"),
        ({"k": -1.0}, ValueError, "k: expected a number >= 0"),
        ({"b": 1.5}, ValueError, "b: expected a number in"),
        ({"avg_factor": 0.0}, ValueError, "avg_factor: expected a number > 0"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    """Shapes, dtypes and Python numbers are checked."""
    labels = torch.zeros(2, dtype=torch.int64)
    arguments = {"logits": torch.zeros(2, 2), "labels": labels, "regression_losses": torch.zeros(2)} | change

    with pytest.raises(error, match=message):
        classification_aware_regression_loss(**arguments)
