"""Contracts of the exhaustive search for the hardest window of A-Fast-RCNN's spatial dropout.

Wang, Shrivastava, Gupta, "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection", CVPR 2017 (arXiv
1704.03414), section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    bad_option,
    bad_shape,
    batch_equals_per_image,
    purity,
    reduces_to,
    refuses,
    same_as,
    value,
    without_axes,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.reference.generative import hardest_window as oracle

PAPER = "Wang, Shrivastava, Gupta, A-Fast-RCNN, CVPR 2017, arXiv 1704.03414, section 4.1"
_CODE = "xiaolonw/adversarial-frcnn, lib/roi_data_layer/layer.py"
_FULL = ("float32", "float64")
_CLASSES = 3
_WINDOWS = ((2, 2), (3, 3), (2, 1), (1, 3), (1, 1))
Function = Callable[..., Any]

# --- inputs ---------------------------------------------------------------------------------------------------


def _labels(draw: Draw, rois: int) -> Array:
    """Foreground mostly, some background, some ignored."""
    return draw.array((rois,), lambda: float(draw.choice((0, 1, _CLASSES, 2, -1, 0)))).astype(np.int64)


def _windows(draw: Draw) -> tuple[int, dict[str, OptionValue]]:
    window, stride = draw.choice(_WINDOWS)
    return draw.integer(max(window, 2), 7), {"window": window, "stride": stride}


def grids(draw: Draw) -> Case:
    """Up to two RoIs of up to three channels on grids of 2 to 7 cells, every feature another multiple of 1/4."""
    cells, options = _windows(draw)
    shape = (draw.integer(1, 2), draw.integer(1, 3), cells, cells)
    features = (1.0 + np.arange(np.prod(shape)).reshape(shape) % 60) / 4.0
    return Case({"features": features * draw.choice((1.0, -1.0))}, options, draw.dtype())


def no_features(draw: Draw) -> Case:
    """No RoI, or no channel."""
    cells, options = _windows(draw)
    rois, channels = draw.choice(((0, 2), (2, 0)))
    return Case({"features": np.zeros((rois, channels, cells, cells))}, options, draw.dtype())


def distinct_scores(draw: Draw) -> Case:
    """Up to four RoIs, each with another score for every window."""
    return _scored(draw, lambda shape: np.argsort(np.argsort(draw.array(shape, draw.fraction), axis=-1)) / 32.0)


def equal_scores(draw: Draw) -> Case:
    """Scores of two values: several windows are the hardest."""
    return _scored(draw, lambda shape: draw.integers(shape, 0, 1) / 4.0)


def no_roi(draw: Draw) -> Case:
    """Scores of nothing."""
    case = distinct_scores(draw)
    return case.with_arguments(scores=case.arguments["scores"][:0], labels=case.arguments["labels"][:0])


def _scored(draw: Draw, scores_of: Callable[[tuple[int, int]], Array]) -> Case:
    masks = oracle.dropout_window_masks(draw.choice((4, 3, 7)), window=2, stride=2)
    rois = draw.integer(1, 4)
    arguments = {"scores": scores_of((rois, len(masks))), "masks": masks, "labels": _labels(draw, rois)}
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "objective": draw.choice(oracle.OBJECTIVES)}
    return Case(arguments, options, draw.dtype())


def linear(draw: Draw) -> Case:
    """Up to three RoIs of two channels; features and weights in eighths, so that every sum is exact."""
    cells, options = _windows(draw)
    rois, channels = draw.integer(1, 3), draw.integer(1, 2)
    random = np.random.default_rng((draw.digit(), draw.digit()))
    arguments = {
        "features": random.integers(-3, 9, (rois, channels, cells, cells)) / 8.0,
        "weights": random.integers(-4, 9, (_CLASSES, channels, cells, cells)) / 8.0,
        "labels": _labels(draw, rois),
    }
    return Case(arguments, options, draw.dtype(_FULL))


def equal_windows(draw: Draw) -> Case:
    """Features that are 0, but for two corners in some: two windows, or all, weigh the same."""
    case = linear(draw)
    features = np.zeros(case.arguments["features"].shape)
    features[..., 0, -1] = features[..., -1, 0] = draw.choice((1.0, 0.0, 0.5))
    return case.with_arguments(features=features, weights=np.ones(case.arguments["weights"].shape))


def no_linear_features(draw: Draw) -> Case:
    """No RoI, or no channel, in which case all windows are equal."""
    case = linear(draw)
    features, weights, labels = (case.arguments[name] for name in ("features", "weights", "labels"))
    if draw.flag():
        return case.with_arguments(features=features[:, :0], weights=weights[:, :0])
    return case.with_arguments(features=features[:0], labels=labels[:0])


def rois_of_vgg(seed: int) -> Case:
    """64 RoIs, a quarter of them foreground, of 32 channels on the 7 x 7 cells of VGG16, over 20 classes."""
    random = np.random.default_rng(seed)
    arguments = {
        "features": random.integers(0, 16, (64, 32, 7, 7)) / 8.0,
        "weights": random.integers(-8, 9, (20, 32, 7, 7)) / 8.0,
        "labels": np.where(np.arange(64) < 16, random.integers(0, 20, 64), 20),
    }
    return Case(arguments, {"window": 2, "stride": 2}, "float32", origin=f"scene {seed}")


def _reversed_rois(*names: str) -> Callable[[Case], Case]:
    return lambda case: case.with_arguments(**{name: case.arguments[name][::-1].copy() for name in names})


def _back(output: Array, _: Case) -> Array:
    return output[::-1]


def _other_scale(name: str) -> Callable[[Case], Case]:
    return lambda case: case.with_arguments(**{name: case.arguments[name] / 2.0})


def search_by_scores(case: Case) -> Array:
    """The definition: features without each window, their score, the window that leaves the lowest."""
    features, weights, labels = (case.arguments[name] for name in ("features", "weights", "labels"))
    blocked = oracle.features_without_windows(features, **case.options)  # type: ignore[arg-type]
    scores = np.einsum("pjchw,pchw->pj", blocked, weights[np.clip(labels, 0, len(weights) - 1)])
    masks = oracle.dropout_window_masks(features.shape[-1], **case.options)  # type: ignore[arg-type]
    return oracle.hardest_dropout_window(scores, masks, labels, num_classes=len(weights))


def _moved_back(case: Case) -> bool:
    starts = oracle.dropout_window_starts(case.arguments["features"].shape[-1], **case.options)  # type: ignore[arg-type]
    return bool(len(set(np.diff(starts).tolist())) > 1)


# --- mutants --------------------------------------------------------------------------------------------------


def _masks(cells: int, window: int, stride: int, last: Callable[[int, int], int]) -> Array:
    """Windows whose start, where it would stick out, is another; what is outside of the grid is cut off."""
    starts = oracle.dropout_window_starts(cells, window=window, stride=stride)
    places = [last(cells, i * stride) if i * stride + window > cells else int(s) for i, s in enumerate(starts)]
    inside = np.array([[start <= cell < start + window for cell in range(cells)] for start in places])
    return np.einsum("ih,jw->ijhw", inside, inside).reshape(-1, cells, cells)


def _blocking(change: Callable[[Array, Array], Array], masks_of: Function | None = None) -> Function:
    """Features [P, 1, C, D, D] and masks [1, J, 1, D, D] combined in another way, or other masks."""

    def mutant(features: Array, *, window: int, stride: int) -> Array:
        oracle.features_without_windows(features, window=window, stride=stride)
        features = np.asarray(features)
        masks = (masks_of or oracle.dropout_window_masks)(features.shape[-1], window=window, stride=stride)
        return np.asarray(change(features[:, None], masks[None, :, None]))

    return mutant


def _zeroed(features: Array, masks: Array) -> Array:
    return np.where(masks, 0.0, features)


def _cut_at_the_edge(cells: int, *, window: int, stride: int) -> Array:
    return _masks(cells, window, stride, lambda _, start: start)


def _back_by_one(cells: int, *, window: int, stride: int) -> Array:
    return _masks(cells, window, stride, lambda _, start: start - 1)


def _columns_first(cells: int, *, window: int, stride: int) -> Array:
    return oracle.dropout_window_masks(cells, window=window, stride=stride).swapaxes(1, 2)


def _every_channel_its_own(features: Array, masks: Array) -> Array:
    channels = features.shape[2]
    return np.where(np.concatenate([np.roll(masks, c, axis=1) for c in range(channels)] or [masks[:, :, :0]], axis=2),
                    0.0, features)  # fmt: skip


def _rescaled(features: Array, masks: Array) -> Array:
    kept = 1.0 - masks.mean(axis=(-2, -1), keepdims=True)
    return np.where(masks, 0.0, features) / np.where(kept == 0.0, 1.0, kept)


_RIGHT_BLOCKING = oracle.features_without_windows
BLOCKING_MUTANTS = (
    Mutant("blocked-features/kept", "only the window left: 1 read as keep", _blocking(
        lambda features, masks: np.where(masks, features, 0.0))),
    Mutant("blocked-features/cut", "windows that leave the grid cut smaller", _blocking(_zeroed, _cut_at_the_edge)),
    Mutant("blocked-features/back-by-one", "a last window moved back by one cell only",
           _blocking(_zeroed, _back_by_one), seen_in=_CODE),
    Mutant("blocked-features/columns-first", "windows counted down the columns", _blocking(_zeroed, _columns_first)),
    Mutant("blocked-features/mask-per-channel", "every channel with a window of its own",
           _blocking(_every_channel_its_own)),
    Mutant("blocked-features/rescaled", "what is left scaled up, as a dropout layer does", _blocking(_rescaled)),
    Mutant("blocked-features/mean", "the mean of the window in place of 0", _blocking(
        lambda features, masks: np.where(masks, features.mean(), features) if features.size else _zeroed(
            features, masks))),
    Mutant("blocked-features/one-roi", "features without an axis of RoIs taken as a batch",
           lambda features, **o: _RIGHT_BLOCKING(features if np.ndim(features) == 4 else np.reshape(
               features, (1, 1, 1, 1)), **{**o, "window": 1} if np.ndim(features) != 4 else o)),
    Mutant("blocked-features/in-place", "its input overwritten", mistakes.overwriting(_RIGHT_BLOCKING, "features")),
    Mutant("blocked-features/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_BLOCKING, window=lambda k: max(k, 1))),
    Mutant("blocked-features/raises-on-empty", "an error where there is nothing",
           mistakes.failing_on_empty(_RIGHT_BLOCKING, "features")),
)  # fmt: skip


def _choosing(choose: Callable[[Array, str], Array], foreground: Callable[[Array, int], Array] | None = None,
              ) -> Function:  # fmt: skip
    """Another choice of a window [P] of scores [P, J], or of the RoIs that get one."""

    def mutant(scores: Array, masks: Array, labels: Array, *, num_classes: int, objective: str) -> Array:
        right = oracle.hardest_dropout_window(scores, masks, labels, num_classes=num_classes, objective=objective)
        if not right.size:
            return right
        taken = (foreground or _foreground)(np.asarray(labels), num_classes)
        return np.asarray(masks).astype(bool)[choose(np.asarray(scores), objective)] & taken[:, None, None]

    return mutant


def _foreground(labels: Array, num_classes: int) -> Array:
    return (labels >= 0) & (labels < num_classes)


def _hardest(scores: Array, objective: str) -> Array:
    return np.asarray((scores if objective == "probability" else -scores).argmin(axis=1))


def _opposite(objective: str) -> str:
    return "loss" if objective == "probability" else "probability"


_RIGHT_CHOICE = oracle.hardest_dropout_window
CHOICE_MUTANTS = (
    Mutant("hardest-window/easiest", "the window that hurts least", _choosing(
        lambda scores, objective: _hardest(scores, _opposite(objective)))),
    Mutant("hardest-window/always-the-lowest", "the lowest score also where scores are losses", _choosing(
        lambda scores, _: scores.argmin(axis=1))),
    Mutant("hardest-window/last-of-equal", "of equal windows the last", _choosing(
        lambda scores, objective: scores.shape[1] - 1 - _hardest(scores[:, ::-1], objective))),
    Mutant("hardest-window/of-the-batch", "one window for the whole batch", _choosing(
        lambda scores, objective: np.repeat(_hardest(scores.mean(axis=0, keepdims=True), objective), len(scores)))),
    Mutant("hardest-window/coarse", "scores rounded to quarters before they are compared", _choosing(
        lambda scores, objective: _hardest(np.rint(4.0 * scores), objective))),
    Mutant("hardest-window/background", "windows of background too", _choosing(
        _hardest, lambda labels, _: labels >= 0)),
    Mutant("hardest-window/ignored", "windows of ignored RoIs too", _choosing(_hardest, lambda labels, c: labels < c)),
    Mutant("hardest-window/first-class-is-background", "label 0 read as background", _choosing(
        _hardest, lambda labels, c: (labels > 0) & (labels < c))),
    Mutant("hardest-window/kept", "the cells that are kept", lambda **k: ~_RIGHT_CHOICE(**k)),
    Mutant("hardest-window/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_CHOICE, "scores")),
    Mutant("hardest-window/broadcast", "labels repeated for scores of another number of RoIs",
           mistakes.broadcasting(_RIGHT_CHOICE, "labels", "scores")),
    Mutant("hardest-window/unchecked", "any objective taken for the loss", mistakes.unchecked(
        _RIGHT_CHOICE, objective=lambda name: name if name in oracle.OBJECTIVES else "loss")),
    Mutant("hardest-window/raises-on-empty", "an error where there is no RoI",
           mistakes.failing_on_empty(_RIGHT_CHOICE, "scores")),
)  # fmt: skip


def _searching(share: Callable[[Array, Array], Array] | None = None, *, masks_of: Function | None = None,
               choose: Callable[[Array], Array] | None = None, classes: Callable[[Array, int], Array] | None = None,
               taken: Callable[[Array, int], Array] | None = None) -> Function:  # fmt: skip
    """Another share of a cell [P, D, D] in the score, other windows, another choice among what they take away."""

    def mutant(features: Array, weights: Array, labels: Array, *, window: int, stride: int) -> Array:
        right = oracle.hardest_window_of_linear_score(features, weights, labels, window=window, stride=stride)
        if not right.size:
            return right
        features, weights, labels = (np.asarray(a) for a in (features, weights, labels))
        masks = (masks_of or oracle.dropout_window_masks)(features.shape[-1], window=window, stride=stride)
        own = weights[(classes or _own_class)(labels, len(weights))]
        cells = (share or _share)(features.astype(np.float64), own.astype(np.float64))
        lost = np.einsum("phw,jhw->pj", cells, masks)
        chosen = masks[(choose or _first_largest)(lost)]
        return chosen & (taken or _foreground)(labels, len(weights))[:, None, None]

    return mutant


def _own_class(labels: Array, classes: int) -> Array:
    return np.clip(labels, 0, classes - 1)


def _share(features: Array, weights: Array) -> Array:
    return np.asarray((features * weights).sum(axis=1))


def _first_largest(lost: Array) -> Array:
    return np.asarray(lost.argmax(axis=1))


_RIGHT_SEARCH = oracle.hardest_window_of_linear_score
SEARCH_MUTANTS = (
    Mutant("linear-search/easiest", "the window that takes least", _searching(choose=lambda lost: lost.argmin(axis=1))),
    Mutant("linear-search/largest-size", "the window of the largest change, up or down", _searching(
        choose=lambda lost: np.abs(lost).argmax(axis=1))),
    Mutant("linear-search/strongest-features", "the window of the strongest features, without weights", _searching(
        lambda features, _: features.sum(axis=1))),
    Mutant("linear-search/first-channel", "only the first channel", _searching(
        lambda features, weights: (features * weights)[:, :1].sum(axis=1))),
    Mutant("linear-search/16-channels", "channels beyond the 16th left out", _searching(
        lambda features, weights: (features * weights)[:, :16].sum(axis=1))),
    Mutant("linear-search/first-class", "the weights of the first class for all", _searching(
        classes=lambda labels, _: np.zeros_like(labels))),
    Mutant("linear-search/strongest-cell", "windows around the strongest cell only, once a cell", _searching(
        lambda features, weights: np.where(
            (s := _share(features, weights)) == s.max(axis=(1, 2), keepdims=True), s, 0.0))),
    Mutant("linear-search/last-of-equal", "of equal windows the last", _searching(
        choose=lambda lost: lost.shape[1] - 1 - lost[:, ::-1].argmax(axis=1))),
    Mutant("linear-search/columns-first", "of equal windows the first down the columns; else the same", _searching(
        masks_of=_columns_first)),
    Mutant("linear-search/cut", "windows that leave the grid cut smaller", _searching(masks_of=_cut_at_the_edge)),
    Mutant("linear-search/background", "windows of background too", _searching(taken=lambda labels, _: labels >= 0)),
    Mutant("linear-search/ignored", "windows of ignored RoIs too", _searching(taken=lambda labels, c: labels < c)),
    Mutant("linear-search/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_SEARCH, "features")),
    Mutant("linear-search/broadcast", "labels repeated for features of another number of RoIs",
           mistakes.broadcasting(_RIGHT_SEARCH, "labels", "features")),
    Mutant("linear-search/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_SEARCH, window=lambda k: max(k, 1))),
    Mutant("linear-search/raises-on-empty", "an error where there is nothing",
           mistakes.failing_on_empty(_RIGHT_SEARCH, "features")),
)  # fmt: skip

# --- contracts ------------------------------------------------------------------------------------------------

_WINDOW_OPTIONS = (
    Option("window", 2, "cells of a side of a window"),
    Option("stride", 2, "cells from one window to the next"),
)
_BACK_SHIFT = Ruling("back-shift", "A window that would stick out is moved back until it fits, and keeps its size.")
_FIRST = Ruling("ties", "Of windows that hurt alike the first counts, row by row.")
_FOREGROUND = Ruling("foreground", "Only foreground has a window: an adversary makes positives harder.")
_NO_GRADIENT = {
    Kind.GRADIENT: "labels of a search have no gradient", Kind.DETACHED: "labels of a search have no gradient",
    Kind.LIMIT: "no limit", Kind.CONSERVATION: "conserves nothing", Kind.EXTREME: "comparisons only",
    Kind.DISTRIBUTION: "not random",
}  # fmt: skip

FEATURES_WITHOUT_WINDOWS = Technique(
    id="features_without_windows",
    title="Pooled features without each window",
    family="generative",
    summary="What the detector scores in A-Fast-RCNN's search: each window of cells in turn set to 0.",
    sources=(PAPER, _CODE),
    oracle=_RIGHT_BLOCKING,
    arguments=(Argument("features", ("P", "C", "D", "D"), "float", "pooled features of RoIs"),),
    options=_WINDOW_OPTIONS,
    outputs=(Output("blocked", ("P", "J", "C", "D", "D"), "float", "windows row by row"),),
    requirements=(
        Requirement("WIN-1", Level.MUST, Kind.VALUE,
                    "The cells of window j are 0 in all channels, the others as given.", "section 4.1",
                    value, grids, reaches={"a window that was moved back": _moved_back}),
        Requirement("WIN-2", Level.MUST, Kind.EMPTY, "Without RoIs or channels there is nothing to block.",
                    "house rule", value, no_features, examples=0.1),
        Requirement("WIN-3", Level.MUST, Kind.BATCH, "RoIs do not see each other.", "section 4.1",
                    batch_equals_per_image, grids, examples=0.1, no_mutant="implied by WIN-1; names the law"),
        Requirement("WIN-4", Level.MUST, Kind.PURITY, "The input is not written to, and equal calls agree.",
                    "house rule", purity, grids, examples=0.1),
        Requirement("WIN-5", Level.SHOULD, Kind.ERROR, "Features without axes are refused.", "house rule",
                    refuses(without_axes("features")), grids, examples=0.1),
        Requirement("WIN-6", Level.MAY, Kind.ERROR, "A window of 0 cells is refused.", "house rule",
                    refuses(bad_option("window", 0)), grids, examples=0.1),
    ),
    mutants=BLOCKING_MUTANTS,
    rulings=(_BACK_SHIFT, Ruling("no-rescaling", "What is left is not divided by the share of cells that are left.")),
    not_applicable={
        **_NO_GRADIENT, Kind.REDUCES_TO: "zeros and copies, which WIN-1 judges", Kind.TIES: "no comparison",
        Kind.INVARIANCE: "zeros and copies, which WIN-1 judges", Kind.BOUND: "zeros and copies, which WIN-1 judges",
        Kind.EXTREME: "zeros and copies, which WIN-1 judges",
    },
)  # fmt: skip

HARDEST_DROPOUT_WINDOW = Technique(
    id="hardest_dropout_window",
    title="Hardest window of A-Fast-RCNN",
    family="generative",
    summary="The window without which each positive is recognised worst: the label of the adversary.",
    sources=(PAPER, _CODE),
    oracle=_RIGHT_CHOICE,
    arguments=(
        Argument("scores", ("P", "J"), "float", "without each window: the true class's probability, or the loss"),
        Argument("masks", ("J", "D", "D"), "bool", "the windows"),
        Argument("labels", ("P",), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(
        Option("num_classes", 20, "C"),
        Option("objective", "probability", f"what the scores are: one of {', '.join(oracle.OBJECTIVES)}"),
    ),
    outputs=(Output("blocked", ("P", "D", "D"), "bool", "the cells of the window"),),
    requirements=(
        Requirement("HARD-1", Level.MUST, Kind.VALUE,
                    "The window of the lowest probability, or of the highest loss; none for background.",
                    "section 4.1", value, distinct_scores,
                    no_mutant="a wrong choice is wrong among equal scores, or after halving, too",
                    reaches={"background": lambda c: bool((c.arguments["labels"] == _CLASSES).any()),
                             "ignored": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("HARD-2", Level.MUST, Kind.TIES, "Of equal scores the first window's.", "ruling ties", value,
                    equal_scores, examples=0.5),
        Requirement("HARD-3", Level.MUST, Kind.EMPTY, "No RoI, no window.", "house rule", value, no_roi, examples=0.1),
        Requirement("HARD-4", Level.MUST, Kind.INVARIANCE, "Half of all scores give the same windows.", "section 4.1",
                    same_as(_other_scale("scores"), "windows of half the scores"), distinct_scores, examples=0.2,
                    no_mutant="implied by HARD-1; names the law"),
        Requirement("HARD-5", Level.MUST, Kind.BATCH, "RoIs in another order have their windows in that order.",
                    "section 4.1", same_as(_reversed_rois("scores", "labels"), "windows of reversed RoIs", _back),
                    distinct_scores, examples=0.2, no_mutant="implied by HARD-1; names the law"),
        Requirement("HARD-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, distinct_scores, examples=0.2),
        Requirement("HARD-7", Level.SHOULD, Kind.ERROR, "Labels of another number of RoIs are refused.", "house rule",
                    refuses(bad_shape("labels")), distinct_scores, examples=0.1),
        Requirement("HARD-8", Level.MAY, Kind.ERROR, "An unknown objective is refused.", "house rule",
                    refuses(bad_option("objective", "boxes")), distinct_scores, examples=0.1),
    ),
    mutants=CHOICE_MUTANTS,
    rulings=(_FIRST, _FOREGROUND, Ruling("objective", "The class alone decides; the loss of the box takes no part.")),
    not_applicable={
        **_NO_GRADIENT, Kind.REDUCES_TO: "a choice among given masks", Kind.BOUND: "HARD-1: one of the masks",
    },
)  # fmt: skip

HARDEST_WINDOW_OF_LINEAR_SCORE = Technique(
    id="hardest_window_of_linear_score",
    title="Exhaustive search of A-Fast-RCNN for a linear score",
    family="generative",
    summary="The whole search for the hardest window, where the score of a class is linear in the features.",
    sources=(PAPER, _CODE),
    oracle=_RIGHT_SEARCH,
    arguments=(
        Argument("features", ("P", "C", "D", "D"), "float", "pooled features of RoIs"),
        Argument("weights", ("K", "C", "D", "D"), "float", "of the foreground classes' scores"),
        Argument("labels", ("P",), "int", "0..K-1 foreground, K background, -1 ignore"),
    ),
    options=_WINDOW_OPTIONS,
    outputs=(Output("blocked", ("P", "D", "D"), "bool", "the cells of the window"),),
    requirements=(
        Requirement("LIN-1", Level.MUST, Kind.VALUE,
                    "The window that takes most off the score of the true class; none for background.", "section 4.1",
                    value, linear, scenes=(rois_of_vgg,), dtypes=_FULL,
                    reaches={"a window that was moved back": _moved_back,
                             "background": lambda c: bool((c.arguments["labels"] == _CLASSES).any()),
                             "ignored": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("LIN-2", Level.MUST, Kind.TIES, "Of windows that weigh the same the first counts.", "ruling ties",
                    value, equal_windows, dtypes=_FULL, examples=0.3,
                    no_mutant="small exact numbers tie now and then, so LIN-1 sees it too; this one always does"),
        Requirement("LIN-3", Level.MUST, Kind.EMPTY, "No RoI, no window; without channels the first window.",
                    "ruling ties", value, no_linear_features, dtypes=_FULL, examples=0.1),
        Requirement("LIN-4", Level.MUST, Kind.REDUCES_TO, "It is the search among the scores of all blocked features.",
                    "section 4.1", reduces_to(search_by_scores), linear, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by LIN-1; names the law"),
        Requirement("LIN-5", Level.MUST, Kind.INVARIANCE, "Half of all features give the same windows.", "linearity",
                    same_as(_other_scale("features"), "windows of half the features"), linear, dtypes=_FULL,
                    examples=0.2, no_mutant="implied by LIN-1; names the law"),
        Requirement("LIN-6", Level.MUST, Kind.BATCH, "RoIs in another order have their windows in that order.",
                    "section 4.1", same_as(_reversed_rois("features", "labels"), "windows of reversed RoIs", _back),
                    linear, dtypes=_FULL, examples=0.2, no_mutant="implied by LIN-1; names the law"),
        Requirement("LIN-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, linear, dtypes=_FULL, examples=0.2),
        Requirement("LIN-8", Level.SHOULD, Kind.ERROR, "Labels of another number of RoIs are refused.", "house rule",
                    refuses(bad_shape("labels")), linear, dtypes=_FULL, examples=0.1),
        Requirement("LIN-9", Level.MAY, Kind.ERROR, "A window of 0 cells is refused.", "house rule",
                    refuses(bad_option("window", 0)), linear, dtypes=_FULL, examples=0.1),
    ),
    mutants=SEARCH_MUTANTS,
    rulings=(_BACK_SHIFT, _FIRST, _FOREGROUND),
    not_applicable={**_NO_GRADIENT, Kind.BOUND: "LIN-1: one of the windows"},
)  # fmt: skip
