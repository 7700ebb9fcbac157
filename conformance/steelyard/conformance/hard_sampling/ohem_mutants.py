"""Known wrong versions of online hard example mining: of the choice, and of the loss that follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.mining_inputs import Function, only_the_first
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.hard_sampling import ohem as oracle

_RIGHT = oracle.online_hard_example_mining
_LOSS = oracle.online_hard_example_loss
_GRAD = oracle.online_hard_example_loss_grad_classification_losses


def _total(keywords: dict[str, Any]) -> Array:
    """The losses that count, 0 for ignored RoIs."""
    labels = np.asarray(keywords["labels"])
    classification = np.asarray(keywords["classification_losses"], dtype=np.float64)
    regression = np.asarray(keywords["regression_losses"], dtype=np.float64)
    total = classification + np.where(labels < keywords["num_classes"], regression, 0.0)
    return np.where(labels == -1, 0.0, total)


def _ranked_by(losses: Array, keywords: dict[str, Any]) -> Array:
    """The right choice by other losses."""
    changed = {"classification_losses": losses, "regression_losses": np.zeros(losses.shape)}
    return _RIGHT(**{**keywords, **changed})


def _smallest(**keywords: Any) -> Array:  # noqa: ANN401
    _RIGHT(**keywords)
    return _ranked_by(-_total(keywords), keywords)


def _classification_only(**keywords: Any) -> Array:  # noqa: ANN401
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
    return _RIGHT(**{**keywords, "regression_losses": np.zeros(losses.shape)})


def _regression_of_background(**keywords: Any) -> Array:  # noqa: ANN401
    _RIGHT(**keywords)
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64) + keywords["regression_losses"]
    labels = np.asarray(keywords["labels"])
    background = labels == keywords["num_classes"]
    right = _total(keywords)
    return _ranked_by(np.where(background & np.isfinite(losses), losses, right), keywords)


def _averaged(**keywords: Any) -> Array:  # noqa: ANN401
    """All ranked by the mean of the losses: the first survivors, in the order of the RoIs."""
    _RIGHT(**keywords)
    return _ranked_by(np.ones(np.shape(keywords["labels"])), keywords)


def _ignored_takes_part(**keywords: Any) -> Array:  # noqa: ANN401
    labels = np.asarray(keywords["labels"])
    losses = np.nan_to_num(np.asarray(keywords["classification_losses"], dtype=np.float64), posinf=np.inf)
    return _RIGHT(**{
        **keywords, "labels": np.where(labels == -1, keywords["num_classes"], labels), "classification_losses": losses,
    })  # fmt: skip


def _wider_boxes(**keywords: Any) -> Array:  # noqa: ANN401
    """Pixels counted from edge to edge, both included."""
    boxes = np.asarray(keywords["boxes"], dtype=np.float64)
    return _RIGHT(**{**keywords, "boxes": boxes + np.array([0.0, 0.0, 1.0, 1.0])})


def _ignores_labels(**keywords: Any) -> Array:  # noqa: ANN401
    return _RIGHT(**{**keywords, "labels_apart": False})


def _always_by_label(**keywords: Any) -> Array:  # noqa: ANN401
    return _RIGHT(**{**keywords, "labels_apart": True})


def _suppresses(suppress: Function) -> Function:
    """Another way of suppression, image by image: of overlaps (R, R), the order of the losses, and the options."""

    def function(**keywords: Any) -> Array:  # noqa: ANN401
        right = _RIGHT(**keywords)
        if keywords["iou_threshold"] is None:
            return right
        total, labels = _total(keywords), np.asarray(keywords["labels"])
        selected = np.zeros(labels.shape, bool)
        for b in np.ndindex(labels.shape[:-1]):
            box = np.asarray(keywords["boxes"], dtype=np.float64)[b]
            rivals = pairwise_iou(box, box)
            if keywords["labels_apart"]:
                rivals = np.where(labels[b][:, None] == labels[b], rivals, -1.0)
            order = [int(i) for i in np.argsort(-total[b], kind="stable") if labels[b][i] != -1]
            selected[b][suppress(rivals, order, keywords["iou_threshold"], keywords["num_samples"])] = True
        return selected

    return function


def _greedy(rivals: Array, order: list[int], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in order:
        if not (rivals[i, kept] > threshold).any():
            kept.append(i)
    return kept


def _after_the_choice(rivals: Array, order: list[int], threshold: float, number: int) -> list[int]:
    return _greedy(rivals, order[:number], threshold)


def _in_order_of_appearance(rivals: Array, order: list[int], threshold: float, number: int) -> list[int]:
    survivors = _greedy(rivals, sorted(order), threshold)
    return [i for i in order if i in survivors][:number]


def _suppressed_suppress(rivals: Array, order: list[int], threshold: float, number: int) -> list[int]:
    """A RoI goes where any harder one lies over it, kept or not."""
    return [i for n, i in enumerate(order) if not (rivals[i, order[:n]] > threshold).any()][:number]


def _at_the_threshold(rivals: Array, order: list[int], threshold: float, number: int) -> list[int]:
    kept: list[int] = []
    for i in order:
        if not (rivals[i, kept] >= threshold).any():
            kept.append(i)
    return kept[:number]


def _with_a_quota(**keywords: Any) -> Array:  # noqa: ANN401
    """At most a quarter positives, as a sampler with `pos_fraction` has it."""
    survivors = _RIGHT(**{**keywords, "num_samples": max(1, np.shape(keywords["labels"])[-1])})
    labels = np.where(survivors, keywords["labels"], -1)
    sample = oracle.stratified_hard_example_mining(
        _total(keywords), labels, num_classes=keywords["num_classes"], num_samples=keywords["num_samples"]
    )
    _RIGHT(**keywords)
    return sample.positive | sample.negative


def _whole_batch(**keywords: Any) -> Array:  # noqa: ANN401
    """As many RoIs of the batch as should come from its images together, wherever they are."""
    labels = np.asarray(keywords["labels"])
    images = max(1, int(np.prod(labels.shape[:-1])))
    _RIGHT(**keywords)
    survivors = _RIGHT(**{**keywords, "num_samples": max(1, labels.shape[-1])})
    order = [i for i in np.argsort(-_total(keywords).ravel(), kind="stable") if survivors.ravel()[i]]
    selected = np.zeros(labels.size, bool)
    selected[order[: keywords["num_samples"] * images]] = True
    return selected.reshape(labels.shape)


def _last_of_equals(**keywords: Any) -> Array:  # noqa: ANN401
    axis = np.ndim(keywords["labels"]) - 1
    names = ("boxes", "labels", "classification_losses", "regression_losses")
    return _RIGHT(**{**keywords, **{name: np.flip(keywords[name], axis) for name in names}})[..., ::-1]


def _infinity_is_nothing(**keywords: Any) -> Array:  # noqa: ANN401
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
    return _RIGHT(**{**keywords, "classification_losses": np.where(np.isposinf(losses), 0.0, losses)})


def _nan_is_an_error(**keywords: Any) -> Array:  # noqa: ANN401
    if np.isnan(keywords["classification_losses"]).any() or np.isnan(keywords["regression_losses"]).any():
        raise ValueError("NaN")
    return _RIGHT(**keywords)


_CHOICES: tuple[tuple[str, str, Function, str], ...] = (
    ("smallest", "the easiest RoIs", _smallest, ""),
    ("classification-only", "regression losses left out of the ranking", _classification_only, "mmdet's OHEMSampler"),
    ("regression-of-background", "regression losses of background RoIs counted", _regression_of_background, ""),
    ("averaged", "a ranking by averaged losses, which are all equal", _averaged, ""),
    ("ignored-takes-part", "ignored RoIs as background", _ignored_takes_part, ""),
    ("wider-boxes", "boxes a pixel wider and higher", _wider_boxes, "the authors' code"),
    ("ignores-labels", "suppression across labels where it should not be", _ignores_labels, ""),
    ("always-by-label", "no suppression across labels where it should be", _always_by_label, ""),
    (
        "suppression-after-the-choice",
        "suppression among the hardest only, so that too few are left",
        _suppresses(_after_the_choice),
        "",
    ),
    (
        "suppression-in-order",
        "suppression in the order of the RoIs instead of their losses",
        _suppresses(_in_order_of_appearance),
        "",
    ),
    ("suppressed-suppress", "RoIs suppressed by RoIs that are suppressed", _suppresses(_suppressed_suppress), ""),
    ("with-a-quota", "a quarter of positives, which the paper does away with", _with_a_quota, "mmdet's OHEMSampler"),
    ("whole-batch", "the hardest RoIs of the batch, whichever image they come from", _whole_batch, "the authors' code"),
)

MUTANTS = (
    *(Mutant(f"ohem/{name}", summary, function, seen_in=seen) for name, summary, function, seen in _CHOICES),
    Mutant("ohem/at-the-threshold", "suppression at the threshold", _suppresses(_at_the_threshold)),
    Mutant("ohem/last-of-equals", "of equal losses the last RoI's", _last_of_equals),
    Mutant("ohem/infinity-is-nothing", "infinite losses replaced by 0", _infinity_is_nothing),
    Mutant("ohem/nan-is-an-error", "an error for a NaN that does not count", _nan_is_an_error),
    Mutant("ohem/first-rois-only", "RoIs beyond the 1,024th left out", only_the_first(_RIGHT, "labels", 1024)),
    Mutant("ohem/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "classification_losses")),
    Mutant("ohem/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_samples=lambda v: max(v, 1), iou_threshold=lambda v: v if v is None else min(max(v, 0.0), 1.0))),
    Mutant("ohem/broadcast", "labels repeated for losses of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "classification_losses")),
    Mutant("ohem/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_RIGHT, "classification_losses")),
    Mutant("ohem/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip


# --- of the loss ----------------------------------------------------------------------------------------------


def _over_all(**keywords: Any) -> Array:  # noqa: ANN401
    selected, labels = _RIGHT(**keywords), np.asarray(keywords["labels"])
    return np.asarray(_total(keywords)[selected].sum() / max(1, labels.size))


def _over_all_grad(**keywords: Any) -> Array:  # noqa: ANN401
    return _RIGHT(**keywords) / max(1, np.size(keywords["labels"]))


def _over_asked_for(**keywords: Any) -> Array:  # noqa: ANN401
    selected, labels = _RIGHT(**keywords), np.asarray(keywords["labels"])
    images = max(1, int(np.prod(labels.shape[:-1])))
    return np.asarray(_total(keywords)[selected].sum() / (keywords["num_samples"] * images))


def _over_asked_for_grad(**keywords: Any) -> Array:  # noqa: ANN401
    labels = np.asarray(keywords["labels"])
    return _RIGHT(**keywords) / (keywords["num_samples"] * max(1, int(np.prod(labels.shape[:-1]))))


def _mean_of_images(**keywords: Any) -> Array:  # noqa: ANN401
    selected = _RIGHT(**keywords)
    losses = np.where(selected, _total(keywords), 0.0).sum(axis=-1) / np.maximum(1, selected.sum(axis=-1))
    return np.asarray(losses.mean() if losses.size else 0.0)


def _mean_of_images_grad(**keywords: Any) -> Array:  # noqa: ANN401
    selected = _RIGHT(**keywords)
    images = max(1, int(np.prod(selected.shape[:-1])))
    return selected / np.maximum(1, selected.sum(axis=-1, keepdims=True)) / images


def _no_mining(**keywords: Any) -> Array:  # noqa: ANN401
    _RIGHT(**keywords)
    counted = np.asarray(keywords["labels"]) != -1
    return np.asarray(_total(keywords)[counted].sum() / max(1, counted.sum()))


def _no_mining_grad(**keywords: Any) -> Array:  # noqa: ANN401
    counted = np.asarray(keywords["labels"]) != -1
    return counted / max(1, counted.sum())


def _leaking_grad(**keywords: Any) -> Array:  # noqa: ANN401
    """A little of the gradient for every RoI that takes part, as soft weights give."""
    right = _GRAD(**keywords)
    return np.where((right == 0) & (np.asarray(keywords["labels"]) != -1), 1e-3, right)


def _classification_loss_only(**keywords: Any) -> Array:  # noqa: ANN401
    selected = _RIGHT(**keywords)
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
    return np.asarray(losses[selected].sum() / max(1, selected.sum()))


def _division_by_zero(**keywords: Any) -> Array:  # noqa: ANN401
    return np.asarray(_LOSS(**keywords) if _RIGHT(**keywords).any() else np.nan)


def _chosen_by(choose: Function) -> tuple[Function, Function]:
    """Loss and gradient of another choice."""

    def loss(**keywords: Any) -> Array:  # noqa: ANN401
        selected = choose(**keywords)
        return np.asarray(_total(keywords)[selected].sum() / max(1, selected.sum()))

    def gradient(**keywords: Any) -> Array:  # noqa: ANN401
        selected = choose(**keywords)
        return np.asarray(selected / max(1, selected.sum()))

    return loss, gradient


def _half_sum(**keywords: Any) -> Array:  # noqa: ANN401
    """Losses added in half precision, which ends at 65504."""
    right = np.asarray(_LOSS(**keywords))
    if np.asarray(keywords["classification_losses"]).dtype != np.float16:
        return right
    total = _total(keywords)[_RIGHT(**keywords)].sum()
    return np.where(total > np.finfo(np.float16).max, np.inf, right)


LOSS_MUTANTS = (
    *(Mutant(f"ohem-loss/{name}", summary, *_chosen_by(function), seen_in=seen)
      for name, summary, function, seen in _CHOICES),
    Mutant("ohem-loss/over-all", "a division by all RoIs", _over_all, _over_all_grad),
    Mutant("ohem-loss/over-asked-for", "a division by the number asked for, also where fewer survive",
           _over_asked_for, _over_asked_for_grad),
    Mutant("ohem-loss/mean-of-images", "the mean of the images' means", _mean_of_images, _mean_of_images_grad),
    Mutant("ohem-loss/no-mining", "the mean of all RoIs", _no_mining, _no_mining_grad),
    Mutant("ohem-loss/leaking-gradient", "a little gradient for RoIs that are not selected", _LOSS, _leaking_grad),
    Mutant("ohem-loss/classification-loss-only", "regression losses used for the choice alone",
           _classification_loss_only, _GRAD),
    Mutant("ohem-loss/division-by-zero", "NaN where nothing is selected", _division_by_zero),
    Mutant("ohem-loss/half-sum", "sums in half precision", _half_sum),
    Mutant("ohem-loss/first-rois-only", "RoIs beyond the 1,024th left out", only_the_first(_LOSS, "labels", 1024)),
    Mutant("ohem-loss/in-place", "its inputs overwritten", mistakes.overwriting(_LOSS, "classification_losses")),
    Mutant("ohem-loss/unchecked", "no check of its options", mistakes.unchecked(
        _LOSS, num_samples=lambda v: max(v, 1), iou_threshold=lambda v: v if v is None else min(max(v, 0.0), 1.0))),
    Mutant("ohem-loss/broadcast", "labels repeated for losses of another number of images",
           mistakes.broadcasting(_LOSS, "labels", "classification_losses")),
    Mutant("ohem-loss/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_LOSS, "classification_losses")),
)  # fmt: skip
