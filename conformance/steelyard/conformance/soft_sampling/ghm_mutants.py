"""Wrong GHM classification losses: of wrong weights, of wrong cross entropies, and wrongly put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.plain_mistakes import (
    broadcasting,
    cutting,
    failing_on_empty,
    losing_the_tail,
    overwriting,
    replacing_nan,
    unchecked,
    without_mask,
)
from steelyard.conformance.soft_sampling.ghm_inputs import number_of
from steelyard.conformance.soft_sampling.gradient_density_mutants import (
    WRONG_REGIONS,
    WRONG_WINDOWS,
    Both,
    by_rows,
    first_output,
    legal_epsilon,
    legal_regions,
    right_regions,
    right_windows,
    squared_weights,
    ten_regions,
    without_state,
)
from steelyard.reference.logistic import log_sigmoid
from steelyard.reference.soft_sampling import ghm as oracle
from steelyard.reference.soft_sampling.gradient_density import harmonized_mean_terms

Loss = Callable[..., Any]
LARGEST_HALF = 65504.0
LARGEST_LOGIT = 16.0  # beyond it p or 1 - p is below 1e-7

# A mean over examples, and whatever takes its place: called with values, weights, mask.
Mean = Callable[[Array, Array, Array], Array]
Values = Callable[[Array, Array], Array]


def reduced(terms: Array, reduction: str) -> Array:
    """The sum, or the terms."""
    if reduction not in oracle.REDUCTIONS:
        raise ValueError("reduction")
    return np.asarray(terms.sum() if reduction == "sum" else terms)


def as_half(values: Array, like: Array) -> Array:
    """In float16 if the inputs are."""
    return values.astype(np.float16) if np.asarray(like).dtype == np.float16 else values


def cross_entropy(logits: Array, targets: Array) -> Array:
    """The right element losses."""
    return -log_sigmoid(np.where(np.asarray(targets) == 1, logits, -np.asarray(logits)))


def slope(logits: Array, targets: Array) -> Array:
    """Their right derivatives."""
    g = oracle.cross_entropy_gradient_norm(logits, targets)
    return np.where(np.asarray(targets) == 1, -g, g)


def classification(
    weigh: Callable[..., Both] = right_regions,
    values: Values = cross_entropy,
    mean: Mean = harmonized_mean_terms,
) -> Loss:
    """GHM-C of some weights, element losses and mean."""

    def loss(logits: Array, targets: Array, valid: Array, state: Array, *, reduction: str, **options: Any) -> Both:  # noqa: ANN401
        norms = as_half(oracle.cross_entropy_gradient_norm(logits, targets), logits)
        weights, new_state = weigh(gradient_norms=norms, valid=valid, state=state, **options)
        return reduced(mean(values(logits, targets), weights, valid), reduction), new_state

    return loss


def classification_grad(weigh: Callable[..., Both] = right_regions, mean: Mean = harmonized_mean_terms) -> Loss:
    """Its derivative."""

    def derivative(
        logits: Array,
        targets: Array,
        valid: Array,
        state: Array,
        *,
        reduction: str,
        **options: Any,  # noqa: ANN401
    ) -> Array:
        norms = as_half(oracle.cross_entropy_gradient_norm(logits, targets), logits)
        weights, _ = weigh(gradient_norms=norms, valid=valid, state=state, **options)
        return mean(slope(logits, targets), weights, valid)

    return derivative


def exact_classification(
    weigh: Callable[..., Array] = right_windows,
    values: Values = cross_entropy,
    mean: Mean = harmonized_mean_terms,
) -> Loss:
    """The same with the exact density; with `slope` as the values and no reduction, its derivative."""

    def loss(logits: Array, targets: Array, valid: Array, *, epsilon: float, reduction: str) -> Array:
        norms = as_half(oracle.cross_entropy_gradient_norm(logits, targets), logits)
        weights = weigh(gradient_norms=norms, valid=valid, epsilon=epsilon)
        return reduced(mean(values(logits, targets), weights, valid), reduction)

    return loss


def exact_classification_grad(weigh: Callable[..., Array] = right_windows, mean: Mean = harmonized_mean_terms) -> Loss:
    """Its derivative."""

    def derivative(logits: Array, targets: Array, valid: Array, *, epsilon: float, reduction: str) -> Array:
        return np.asarray(exact_classification(weigh, slope, mean)(
            logits, targets, valid, epsilon=epsilon, reduction="none"
        ))  # fmt: skip

    return derivative


# --- wrong element losses -------------------------------------------------------------------------------------


def log_epsilon(logits: Array, targets: Array) -> Array:
    return -np.log(1.0 - oracle.cross_entropy_gradient_norm(logits, targets) + 1e-8)


def squared_error(logits: Array, targets: Array) -> Array:
    return oracle.cross_entropy_gradient_norm(logits, targets) ** 2 / 2


def infinite_less_infinite(logits: Array, targets: Array) -> Array:
    """(1 - y) x - log sigmoid(x), which is no number for infinite logits, right ones too."""
    return np.where(np.isinf(logits), np.nan, cross_entropy(logits, targets))


def half_cross_entropy(logits: Array, targets: Array) -> Array:
    g = oracle.cross_entropy_gradient_norm(logits, targets)
    if np.asarray(logits).dtype != np.float16:
        return cross_entropy(logits, targets)
    return -np.log((np.float16(1) - g.astype(np.float16)).astype(np.float64))


# --- wrong means ----------------------------------------------------------------------------------------------


def _counted(weights: Array, valid: Array) -> Array:
    return np.asarray(valid, dtype=np.bool_) & ~np.isnan(weights)


def over_rows(values: Array, weights: Array, valid: Array) -> Array:
    """Divided by the number of anchors."""
    counted = _counted(weights, valid)
    rows = number_of(np.asarray(counted.any(axis=tuple(range(1, counted.ndim)))))
    return harmonized_mean_terms(values, weights, valid) * number_of(counted) / rows


def over_all(values: Array, weights: Array, valid: Array) -> Array:
    """Divided by the number of all elements."""
    counted = number_of(_counted(weights, valid))
    return harmonized_mean_terms(values, weights, valid) * counted / max(np.size(values), 1)


def nan_counted(values: Array, weights: Array, valid: Array) -> Array:
    """Divided by the number of valid elements, NaN among them."""
    counted = number_of(_counted(weights, valid))
    return harmonized_mean_terms(values, weights, valid) * counted / number_of(valid)


def over_weights(values: Array, weights: Array, valid: Array) -> Array:
    """Divided by the sum of the weights."""
    counted = _counted(weights, valid)
    total = weights[counted].sum()
    terms = harmonized_mean_terms(values, weights, valid)
    return terms * np.count_nonzero(counted) / total if total > 0 else terms


def plain_mean(values: Array, weights: Array, valid: Array) -> Array:
    """Weights left out."""
    return harmonized_mean_terms(values, np.where(np.isnan(weights), weights, 1.0), valid)


def multiplied_mask(values: Array, weights: Array, valid: Array) -> Array:
    """The mask as a weight of 0, so that NaN and infinity stay NaN."""
    terms = harmonized_mean_terms(values, weights, np.ones(np.shape(valid), np.bool_))
    right = harmonized_mean_terms(values, weights, valid)
    return np.where(np.asarray(valid, np.bool_), right, np.where(np.isfinite(terms) & np.isfinite(values), 0.0, np.nan))


def nothing_divided(values: Array, weights: Array, valid: Array) -> Array:
    """NaN where there is no example: 0 by 0."""
    terms = harmonized_mean_terms(values, weights, valid)
    return terms if _counted(weights, valid).any() else np.full(terms.shape, np.nan)


def ignored_derivative(values: Array, weights: Array, valid: Array) -> Array:
    """A derivative where there is no example."""
    return np.where(np.asarray(valid, np.bool_), harmonized_mean_terms(values, weights, valid), values)


def clamped(derivative: Loss, size: Callable[..., Array], largest: float) -> Loss:
    """No gradient where an input is large, but finite."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        exact, sizes = np.asarray(derivative(**keywords)), size(**keywords)
        return np.where((sizes > largest) & np.isfinite(sizes), 0.0, exact)

    return mutant


def logit_size(logits: Array, **_: Any) -> Array:  # noqa: ANN401
    """Absolute logits."""
    return np.abs(logits)


def _examples(keywords: dict[str, Any]) -> int:
    """Number of valid elements of a call."""
    first = keywords["logits"] if "logits" in keywords else keywords["predictions"]
    valid = keywords["valid"] if "valid" in keywords else np.asarray(keywords["labels"])[..., None] != -1
    return int(np.count_nonzero(np.broadcast_to(valid, np.shape(first))))


def _is_half(keywords: dict[str, Any]) -> bool:
    return any(np.asarray(values).dtype == np.float16 for values in keywords.values())


def undivided_terms(function: Loss) -> Loss:
    """Without reduction, the terms are not divided by N."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        result = function(**keywords)
        return (result[0] * _examples(keywords), *result[1:]) if keywords["reduction"] == "none" else result

    return mutant


def of_one(function: Loss) -> Loss:
    """A function of one output as one of a tuple, and back."""
    return lambda **keywords: (np.asarray(function(**keywords)),)


def half_sum(function: Loss) -> Loss:
    """The weighted losses added up in float16, before they are divided by N."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        result = function(**keywords)
        loss, *rest = result if isinstance(result, tuple) else (result,)
        lost = _is_half(keywords) and keywords["reduction"] == "sum" and loss * _examples(keywords) > LARGEST_HALF
        loss = np.asarray(np.inf if lost else loss)
        return (loss, *rest) if rest else loss

    return mutant


def half_weights(gradient_norms: Array, valid: Array, state: Array, **options: Any) -> Both:  # noqa: ANN401
    """Weights that overflow in float16."""
    weights, new_state = right_regions(gradient_norms, valid, state, **options)
    overflown = (np.asarray(gradient_norms).dtype == np.float16) & (weights > LARGEST_HALF)
    return np.where(overflown, np.inf, weights), new_state


def losing_the_tail_of_the_sum(function: Loss) -> Loss:
    """The last terms of a large call are not in the sum."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        result = function(**keywords)

        def terms(**kept: Any) -> Array:  # noqa: ANN401
            found = function(**{**kept, "reduction": "none"})
            return np.asarray(found[0] if isinstance(found, tuple) else found)

        lost = reduced(losing_the_tail(terms)(**keywords), keywords["reduction"])
        return (lost, *result[1:]) if isinstance(result, tuple) else lost

    return mutant


def fixed(**options: Any) -> Callable[[Loss], Loss]:  # noqa: ANN401
    """Options at these values whatever was asked for."""

    def spoil(function: Loss) -> Loss:
        def mutant(**keywords: Any) -> Any:  # noqa: ANN401
            function(**keywords)  # checks what was asked for
            return function(**{**keywords, **options})

        return mutant

    return spoil


def legal_loss() -> dict[str, Callable[[Any], Any]]:
    """What a loss without checks makes of options out of range."""
    return legal_regions(
        reduction=lambda reduction: reduction if reduction in oracle.REDUCTIONS else "sum",
    )


def shared_mutants(name: str, loss: Loss, grad: Loss, build: Loss, build_grad: Loss, **names: str) -> list[Mutant]:
    """Mistakes of every loss with unit regions, on whatever element losses."""
    weights = [
        Mutant(f"{name}/{wrong.id}", wrong.summary, build(wrong.function), build_grad(wrong.function), wrong.seen_in)
        for wrong in WRONG_REGIONS
        if wrong.id != "nan-in-last-region"
    ]
    unaveraged = next(wrong.function for wrong in WRONG_REGIONS if wrong.id == "unaveraged-weights")
    first, second = names["first"], names["second"]
    return [
        *weights,
        Mutant(f"{name}/squared-weights", "the weights twice", build(squared_weights), build_grad(squared_weights)),
        Mutant(f"{name}/rows-in-weights", "weights of the number of rows, by that of elements", build(by_rows),
               build_grad(by_rows)),
        Mutant(f"{name}/over-rows", "the sum divided by the number of rows", build(mean=over_rows),
               build_grad(mean=over_rows)),
        Mutant(f"{name}/over-all", "the sum divided by the number of all elements, valid or not",
               build(mean=over_all), build_grad(mean=over_all)),
        Mutant(f"{name}/over-weights", "the sum divided by that of the weights", build(mean=over_weights),
               build_grad(mean=over_weights)),
        Mutant(f"{name}/plain-mean", "no weights", build(mean=plain_mean), build_grad(mean=plain_mean)),
        Mutant(f"{name}/plain-gradient", "no weights in the gradient", loss, build_grad(mean=plain_mean)),
        Mutant(f"{name}/unaveraged-gradient", "the counts of the call in the gradient, in place of their average",
               loss, build_grad(unaveraged)),
        Mutant(f"{name}/multiplied-mask", "what is not valid multiplied by 0, so that its NaN stays NaN",
               build(mean=multiplied_mask), seen_in="mmdet and the authors' code, of NaN"),
        Mutant(f"{name}/nothing-divided", "NaN without an example", build(mean=nothing_divided)),
        Mutant(f"{name}/nothing-divided-gradient", "NaN in the gradient without an example", loss,
               build_grad(mean=nothing_divided)),
        Mutant(f"{name}/undivided-terms", "terms that are not divided by N without reduction", undivided_terms(loss),
               seen_in="mmdet"),
        Mutant(f"{name}/half-sum", "the weighted losses added up in float16, infinite above 65504", half_sum(loss),
               seen_in="mmdet"),
        Mutant(f"{name}/half-weights", "weights in float16, infinite above 65504", loss,
               build_grad(half_weights)),
        Mutant(f"{name}/half-weighted", "weights in float16, infinite above 65504, in the loss and in the gradient",
               build(half_weights), build_grad(half_weights), seen_in="mmdet"),
        Mutant(f"{name}/nan-is-zero", "NaN replaced by 0: a broken network looks trained",
               first_output(loss, replacing_nan)),
        Mutant(f"{name}/lost-tail", "the last elements of a large call left out", losing_the_tail_of_the_sum(loss)),
        Mutant(f"{name}/lost-tail-gradient", "no gradient for the last elements of a large call", loss,
               losing_the_tail(grad)),
        Mutant(f"{name}/in-place", "the state overwritten", overwriting(loss, "state"),
               seen_in="mmdet and the authors' code, whose state is a buffer of the module"),
        Mutant(f"{name}/unchecked", "no check of the options", unchecked(loss, **legal_loss())),
        Mutant(f"{name}/broadcast", f"{second} broadcast to {first} of another shape",
               broadcasting(loss, second, first)),
        Mutant(f"{name}/raises-on-empty", "an error on empty input", failing_on_empty(loss, first)),
        Mutant(f"{name}/ten-regions-gradient", "the gradient of ten regions whatever was asked for", loss,
               build_grad(ten_regions)),
        Mutant(f"{name}/nan-in-gradient", "NaN counted in the number of examples that divides the gradient", loss,
               build_grad(mean=nan_counted)),
        Mutant(f"{name}/no-state-is-one", "an average that starts from one example in every region",
               without_state(loss)),
    ]  # fmt: skip


def shared_exact_mutants(
    name: str, loss: Loss, grad: Loss, build: Loss, build_grad: Loss, **names: str
) -> list[Mutant]:
    """Mistakes of every loss with the exact density."""
    first, second = names["first"], names["second"]
    return [
        *(Mutant(f"{name}/{wrong.id}", wrong.summary, build(wrong.function), build_grad(wrong.function))
          for wrong in WRONG_WINDOWS if wrong.id != "empty-window"),
        Mutant(f"{name}/over-rows", "the sum divided by the number of rows", build(mean=over_rows),
               build_grad(mean=over_rows)),
        Mutant(f"{name}/over-weights", "the sum divided by that of the weights", build(mean=over_weights),
               build_grad(mean=over_weights)),
        Mutant(f"{name}/plain-mean", "no weights", build(mean=plain_mean), build_grad(mean=plain_mean)),
        Mutant(f"{name}/plain-gradient", "no weights in the gradient", loss, build_grad(mean=plain_mean)),
        Mutant(f"{name}/multiplied-mask", "what is not valid multiplied by 0, so that its NaN stays NaN",
               build(mean=multiplied_mask)),
        Mutant(f"{name}/nothing-divided", "NaN without an example", build(mean=nothing_divided)),
        Mutant(f"{name}/nothing-divided-gradient", "NaN in the gradient without an example", loss,
               build_grad(mean=nothing_divided)),
        Mutant(f"{name}/undivided-terms", "terms that are not divided by N without reduction",
               lambda **keywords: undivided_terms(of_one(loss))(**keywords)[0]),
        Mutant(f"{name}/half-sum", "the weighted losses added up in float16, infinite above 65504", half_sum(loss)),
        Mutant(f"{name}/nan-is-zero", "NaN replaced by 0: a broken network looks trained", replacing_nan(loss)),
        Mutant(f"{name}/lost-tail", "the last elements of a large call left out", losing_the_tail_of_the_sum(loss)),
        Mutant(f"{name}/lost-tail-gradient", "no gradient for the last elements of a large call", loss,
               losing_the_tail(grad)),
        Mutant(f"{name}/in-place", "its inputs overwritten", overwriting(loss, first, second)),
        Mutant(f"{name}/unchecked", "no check of the options",
               unchecked(loss, epsilon=legal_epsilon, reduction=legal_loss()["reduction"])),
        Mutant(f"{name}/broadcast", f"{second} broadcast to {first} of another shape",
               broadcasting(loss, second, first)),
        Mutant(f"{name}/raises-on-empty", "an error on empty input", failing_on_empty(loss, first)),
        Mutant(f"{name}/fixed-window-gradient", "the gradient of a window of 0.1 whatever was asked for", loss,
               build_grad(next(wrong.function for wrong in WRONG_WINDOWS if wrong.id == "fixed-window"))),
        Mutant(f"{name}/nan-in-gradient", "NaN counted in the number of examples that divides the gradient", loss,
               build_grad(mean=nan_counted)),
        Mutant(f"{name}/no-mask-is-none", "no example without a mask", without_mask(loss, "valid", first)),
    ]  # fmt: skip


_LOSS, _GRADIENT = oracle.ghm_classification_loss, oracle.ghm_classification_loss_grad
MUTANTS = (
    *shared_mutants("ghm-classification", _LOSS, _GRADIENT, classification, classification_grad,
                    first="logits", second="targets"),
    Mutant("ghm-classification/log-epsilon", "log(p + 1e-8): the loss of hard elements stops growing",
           classification(values=log_epsilon)),
    Mutant("ghm-classification/squared-error", "the squared error whose slope is the gradient norm",
           classification(values=squared_error)),
    Mutant("ghm-classification/infinite-less-infinite",
           "a cross entropy that is NaN for infinite logits, also where what is not valid is multiplied by 0",
           classification(values=infinite_less_infinite, mean=multiplied_mask), seen_in="mmdet and the authors' code"),
    Mutant("ghm-classification/half-cross-entropy", "probabilities in float16",
           classification(values=half_cross_entropy)),
    Mutant("ghm-classification/cut-logits", "logits cut to [-1000, 1000]", cutting(_LOSS, "logits", 1e3), _GRADIENT),
    Mutant("ghm-classification/clamped-gradient", "gradient 0 where the score is beyond [1e-7, 1 - 1e-7]", _LOSS,
           clamped(_GRADIENT, logit_size, LARGEST_LOGIT)),
    Mutant("ghm-classification/ignored-gradient", "a gradient for what is not valid", _LOSS,
           classification_grad(mean=ignored_derivative)),
    Mutant("ghm-classification/no-mask-is-none", "no example without a mask", without_mask(_LOSS, "valid", "logits")),
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------

_LABELLED, _LABELLED_GRADIENT = (
    oracle.ghm_classification_loss_with_labels,
    oracle.ghm_classification_loss_with_labels_grad,
)


def by_labels(function: Loss) -> Loss:
    """A loss by labels of one by targets."""

    def labelled(logits: Array, labels: Array, state: Array, **options: Any) -> Any:  # noqa: ANN401
        label = np.asarray(labels)[..., None]
        valid = np.broadcast_to(label != -1, (*np.shape(labels), np.shape(logits)[-1]))
        targets = label == np.arange(np.shape(logits)[-1])
        return function(logits=logits, targets=targets, valid=valid, state=state, **options)

    return labelled


def _built(builder: Loss) -> Loss:
    return lambda *arguments, **keywords: by_labels(builder(*arguments, **keywords))


def _relabelled(function: Loss, relabel: Callable[[Array, int], Array]) -> Loss:
    def labelled(logits: Array, labels: Array, state: Array, **options: Any) -> Any:  # noqa: ANN401
        return function(logits, relabel(np.asarray(labels), np.shape(logits)[-1]), state, **options)

    return labelled


def _both(relabel: Callable[[Array, int], Array]) -> tuple[Loss, Loss]:
    return _relabelled(_LABELLED, relabel), _relabelled(_LABELLED_GRADIENT, relabel)


LABEL_MUTANTS = (
    *shared_mutants("ghm-labels", _LABELLED, _LABELLED_GRADIENT, _built(classification), _built(classification_grad),
                    first="logits", second="labels"),
    Mutant("ghm-labels/ignored-is-background", "ignored anchors trained as background",
           *_both(lambda labels, classes: np.where(labels == -1, classes, labels))),
    Mutant("ghm-labels/background-first", "class c in channel c - 1, as where 0 is the background",
           *_both(lambda labels, classes: np.where(labels == 0, classes, np.where(labels == -1, -1, labels - 1))),
           seen_in="the authors' code, as its convention"),
    Mutant("ghm-labels/background-is-last-class", "the background trained as the last class",
           *_both(lambda labels, classes: np.minimum(labels, classes - 1))),
    Mutant("ghm-labels/background-is-ignored", "no loss for background anchors",
           *_both(lambda labels, classes: np.where(labels == classes, -1, labels))),
    Mutant("ghm-labels/clamped-gradient", "gradient 0 where the score is beyond [1e-7, 1 - 1e-7]", _LABELLED,
           clamped(_LABELLED_GRADIENT, logit_size, LARGEST_LOGIT)),
    Mutant("ghm-labels/ignored-gradient", "a gradient for ignored anchors", _LABELLED,
           by_labels(classification_grad(mean=ignored_derivative))),
    Mutant("ghm-labels/infinite-less-infinite",
           "a cross entropy that is NaN for infinite logits, also where what is not valid is multiplied by 0",
           by_labels(classification(values=infinite_less_infinite, mean=multiplied_mask)),
           seen_in="mmdet and the authors' code"),
    Mutant("ghm-labels/cut-logits", "logits cut to [-1000, 1000]", cutting(_LABELLED, "logits", 1e3),
           _LABELLED_GRADIENT),
)  # fmt: skip


# --- exact density --------------------------------------------------------------------------------------------

_EXACT, _EXACT_GRADIENT = oracle.exact_ghm_classification_loss, oracle.exact_ghm_classification_loss_grad


def length_differentiated(logits: Array, targets: Array, valid: Array, *, epsilon: float, reduction: str) -> Array:
    """The window's length, which is the only smooth part of the density, differentiated with the loss."""
    exact = _EXACT_GRADIENT(logits, targets, valid, epsilon=epsilon, reduction=reduction)
    g = oracle.cross_entropy_gradient_norm(logits, targets)
    half = epsilon / 2.0
    growth = np.where(g < half, 1.0, 0.0) - np.where(1.0 - g < half, 1.0, 0.0)
    by_length = harmonized_mean_terms(
        cross_entropy(logits, targets),
        right_windows(g, valid, epsilon=epsilon) / (np.minimum(half, 1.0 - g) + np.minimum(half, g)),
        valid,
    )
    sign = np.where(np.asarray(targets) == 1, -1.0, 1.0)
    return exact + by_length * growth * sign * g * (1.0 - g)


EXACT_MUTANTS = (
    *shared_exact_mutants("exact-ghm-classification", _EXACT, _EXACT_GRADIENT, exact_classification,
                          exact_classification_grad, first="logits", second="targets"),
    Mutant("exact-ghm-classification/differentiated-length", "the window's length differentiated with the loss",
           _EXACT, length_differentiated),
    Mutant("exact-ghm-classification/log-epsilon", "log(p + 1e-8): the loss of hard elements stops growing",
           exact_classification(values=log_epsilon)),
    Mutant("exact-ghm-classification/cut-logits", "logits cut to [-1000, 1000]", cutting(_EXACT, "logits", 1e3),
           _EXACT_GRADIENT),
    Mutant("exact-ghm-classification/clamped-gradient", "gradient 0 where the score is beyond [1e-7, 1 - 1e-7]", _EXACT,
           clamped(_EXACT_GRADIENT, logit_size, LARGEST_LOGIT)),
    Mutant("exact-ghm-classification/ignored-gradient", "a gradient for what is not valid", _EXACT,
           exact_classification_grad(mean=ignored_derivative)),
)  # fmt: skip
