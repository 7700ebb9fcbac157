r"""Equalization loss v2: classes whose gradients are mostly negative get less of those, and more of the positive ones.

Source: Tan, Lu, Zhang, Yin, Li, "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object
Detection", CVPR 2021 (arXiv 2012.08548), and its authors' program.

Each class is a binary problem of its own, as is whether there is an object at all: the last channel. Every sample of
another class pushes a class's score down. Of a rare class these negative gradients outweigh the positive ones by far.
The loss adds up both through all of training, and weighs both by their ratio, which it drives towards balance.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from steelyard.reference.checks import (
    Bool,
    Float,
    SpecError,
    finite_array,
    int_array,
    non_negative,
    one_of,
    positive,
    real_number,
)
from steelyard.reference.logistic import sigmoid, softplus

REDUCTIONS = ("mean", "sum", "none")
_FIRST_RATIO = 100.0
_NO_ZERO = 1e-10


class EqualizationLoss(NamedTuple):
    """What the equalization loss v2 returns."""

    loss: Float | np.float64
    positive_gradients: Float
    negative_gradients: Float


class _Problem(NamedTuple):
    """The elements of a mini-batch, each (R, C + 1)."""

    signed: Float
    """The logit, its sign turned for negatives."""
    sign: Float
    is_positive: Bool
    kept: Float
    """Weight of the element's sample, 0 if it is ignored."""
    balance: Float
    """q for positives, r for negatives."""
    divisor: float


def equalization_loss_v2(  # noqa: PLR0913 - state and options of the paper
    logits: ArrayLike,
    labels: ArrayLike,
    positive_gradients: ArrayLike,
    negative_gradients: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    gamma: float = 12.0,
    mu: float = 0.8,
    alpha: float = 4.0,
    reduction: str = "mean",
) -> EqualizationLoss:
    r"""Loss of a mini-batch, in nats, and the gradients of each class added up so far.

    With $G^+_j$ and $G^-_j$ as given, $y_{ij} = [j = l_i]$, $w_i$ the weights and $R$ the number of samples that are
    not ignored, at least 1:

    $$ g_j = \frac{G^+_j}{G^-_j + 10^{-10}}, \qquad r_j = \frac{1}{1 + e^{-\gamma (g_j - \mu)}}, \qquad
       q_j = 1 + \alpha (1 - r_j) $$

    $$ L_{ij} = w_i \, (q_j y_{ij} + r_j (1 - y_{ij})) \, \mathrm{BCE}(z_{ij}, y_{ij}), \qquad
       L = \frac{1}{R} \sum_{ij} L_{ij} $$

    $q_C = r_C = 1$, of the object's channel. Given back are $G^+_j + \sum_i w_i q_j y_{ij} (1 - p_{ij})$ and
    $G^-_j + \sum_i w_i r_j (1 - y_{ij}) \, p_{ij}$ with $p = \sigma(z)$: the size of the gradients of the sum.

    Parameters
    ----------
    logits : float, shape (R, C + 1)
        $z$, finite: of C classes, C >= 1, and of background.
    labels : int, shape (R,)
        0..C-1 foreground, C background, -1 ignore.
    positive_gradients, negative_gradients : float >= 0, shape (C,)
        $G^+$, $G^-$ before this call, zeros at the start of training.
    weights : float >= 0, shape (R,), or None
        $w$; None is 1.
    gamma : float > 0
        Steepness of the weight by the ratio.
    mu : float
        Ratio at which negatives have the weight 1/2.
    alpha : float >= 0
        How much more positives may weigh; 0 is off.
    reduction : str
        "mean" is $L$, "sum" $R L$, "none" the elements $L_{ij}$.

    Returns
    -------
    loss : float64, shape () or (R, C + 1)
    positive_gradients, negative_gradients : float64, shape (C,)

    Raises
    ------
    SpecError
        A shape does not fit, a logit is not finite, a label, weight, gradient or parameter is out of range.

    Source
    ------
    Paper, gradient guided reweighing. Rulings: the object's channel, $10^{-10}$, and gradients that are weighted and
    not divided by $R$ are the authors' program's; so is the ratio of a class without gradients so far, 100.

    Examples
    --------
    The second class has been pushed down only: its negatives hardly count any more.

    >>> loss, up, down = equalization_loss_v2(
    ...     [[0.0, 0.0, 0.0]], [0], [2.0, 0.0], [2.0, 1.0], reduction="none")
    >>> loss.round(6)
    array([[9.23751e-01, 4.70000e-05, 6.93147e-01]])
    >>> up.round(6), down.round(6)
    (array([2.666345, 0.      ]), array([2.      , 1.000034]))
    """
    # CHECKS
    problem, up, down = _checked(
        logits, labels, positive_gradients, negative_gradients, weights, reduction, gamma=gamma, mu=mu, alpha=alpha
    )

    # LOSS
    element = problem.kept * problem.balance * softplus(-problem.signed)
    loss = _reduced(element, problem.divisor, reduction)

    # GRADIENTS, of the object's channel none
    size = problem.kept * problem.balance * sigmoid(-problem.signed)
    up = up + np.where(problem.is_positive, size, 0.0).sum(axis=0)[:-1]
    down = down + np.where(problem.is_positive, 0.0, size).sum(axis=0)[:-1]

    # RESULT
    return EqualizationLoss(loss, up, down)


def equalization_loss_v2_grad(  # noqa: PLR0913 - those of the loss
    logits: ArrayLike,
    labels: ArrayLike,
    positive_gradients: ArrayLike,
    negative_gradients: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    gamma: float = 12.0,
    mu: float = 0.8,
    alpha: float = 4.0,
    reduction: str = "mean",
) -> Float:
    r"""Derivative of `equalization_loss_v2` with respect to the logits; of its elements without a reduction.

    $$ \frac{\partial L}{\partial z_{ij}} =
       \frac{w_i}{R} (q_j y_{ij} + r_j (1 - y_{ij})) \, (\sigma(z_{ij}) - y_{ij}) $$

    Parameters, errors: as `equalization_loss_v2`. Returns float64, shape (R, C + 1).

    Source
    ------
    Paper, the gradients that it balances.

    Examples
    --------
    >>> equalization_loss_v2_grad([[0.0, 0.0]], [0], [0.0], [0.0])
    array([[-0.5,  0.5]])
    """
    # CHECKS
    problem, _, _ = _checked(
        logits, labels, positive_gradients, negative_gradients, weights, reduction, gamma=gamma, mu=mu, alpha=alpha
    )

    # RESULT
    slope = -problem.sign * problem.kept * problem.balance * sigmoid(-problem.signed)
    return slope / problem.divisor if reduction == "mean" else slope


def _checked(  # noqa: PLR0913 - the arguments of the loss
    logits: ArrayLike,
    labels: ArrayLike,
    positive_gradients: ArrayLike,
    negative_gradients: ArrayLike,
    weights: ArrayLike | None,
    reduction: str,
    *,
    gamma: float,
    mu: float,
    alpha: float,
) -> tuple[_Problem, Float, Float]:
    z = finite_array("logits", logits)
    if z.ndim != 2 or z.shape[1] < 2:
        raise SpecError(f"logits: expected shape (R, C + 1) with C >= 1, got {z.shape}")
    samples, channels = z.shape
    label = int_array("labels", labels, low=-1, high=channels - 1, shape=(samples,))
    up = _not_negative("positive_gradients", positive_gradients, (channels - 1,))
    down = _not_negative("negative_gradients", negative_gradients, (channels - 1,))
    weight = np.ones(samples) if weights is None else _not_negative("weights", weights, (samples,))
    one_of("reduction", reduction, REDUCTIONS)

    on_positives, on_negatives = _balance(
        up, down, positive("gamma", gamma), real_number("mu", mu), non_negative("alpha", alpha)
    )
    is_positive = label[:, np.newaxis] == np.arange(channels)
    sign = np.where(is_positive, 1.0, -1.0)
    kept = np.where(label == -1, 0.0, weight)[:, np.newaxis]
    balance = np.where(is_positive, on_positives, on_negatives)
    divisor = max(float(np.count_nonzero(label != -1)), 1.0)
    return _Problem(sign * z, sign, is_positive, kept, balance, divisor), up, down


def _balance(up: Float, down: Float, gamma: float, mu: float, alpha: float) -> tuple[Float, Float]:
    """Weights q of positives and r of negatives of every channel, (C + 1,)."""
    none_yet = (up == 0.0) & (down == 0.0)
    ratio = np.where(none_yet, _FIRST_RATIO, up / (down + _NO_ZERO))
    on_negatives = sigmoid(gamma * (ratio - mu))
    on_positives = 1.0 + alpha * sigmoid(-gamma * (ratio - mu))
    return np.append(on_positives, 1.0), np.append(on_negatives, 1.0)


def _reduced(element: Float, divisor: float, reduction: str) -> Float | np.float64:
    if reduction == "none":
        return element
    total = np.float64(element.sum())
    return total / divisor if reduction == "mean" else total


def _not_negative(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Float:
    array = finite_array(name, values, shape=shape)
    if np.any(array < 0.0):
        raise SpecError(f"{name}: expected numbers >= 0, got {array.min()}")
    return array
