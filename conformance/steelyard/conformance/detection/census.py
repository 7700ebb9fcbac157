"""Contract of the census of candidates: background, ignored and foreground, by level and by class.

Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv 1909.00169), section 4. A data set's
census is the sum of those of its images, field by field.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_shape, leaving_out, padding, purity, refuses, same_as, value
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
    as_outputs,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.real_data import points_of_image
from steelyard.reference.detection import census as oracle

REVIEW = 'Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021, arXiv 1909.00169, section 4'
ANY = ("float32",)  # no floats in, none out: one format says all
_CLASSES, _LEVELS = 3, 3
FIELDS = ("images", "images_without_foreground", "background", "ignored", "foreground",
          "by_level", "by_class", "images_by_class")  # fmt: skip

# --- inputs ---------------------------------------------------------------------------------------------------


def draw_labels(draw: Draw, number: int) -> Array:
    """Background mostly, some of each class, some ignored."""
    return draw.array((number,), lambda: float(draw.choice((_CLASSES, _CLASSES, 0, 1, 2, -1, -1)))).astype(np.int64)


def _case(draw: Draw, labels: Array, mask: Array) -> Case:
    num_levels = draw.choice((_LEVELS, 1, 4))
    levels = draw.integers(labels.shape, 0, num_levels - 1)
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "num_levels": num_levels}
    return Case({"labels": labels, "levels": levels, "mask": mask}, options, draw.dtype(ANY))


def an_image(draw: Draw) -> Case:
    """Up to 12 candidates, all of them counted."""
    labels = draw_labels(draw, draw.integer(1, 12))
    return _case(draw, labels, np.ones(labels.shape, dtype=bool))


def after_a_sampler(draw: Draw) -> Case:
    """Some candidates are not counted: those that a sampler left, or padding (label 0)."""
    labels = draw_labels(draw, draw.integer(1, 12))
    mask = np.array([draw.flag() for _ in labels])
    return _case(draw, np.where(mask | (draw.digit() % 2 == 0), labels, 0), mask)


def nothing_to_learn(draw: Draw) -> Case:
    """No foreground; only ignored candidates; nothing counted; no candidate at all."""
    number = draw.choice((3, 1, 5, 0))
    labels = np.full(number, draw.choice((_CLASSES, -1)))
    return _case(draw, labels, np.full(number, draw.flag(70)))


def anchors_of_an_image(seed: int) -> Case:
    """200,000 anchors on three levels, one in a thousand foreground, some ignored."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(200_000) < 1e-3, random.integers(0, _CLASSES, 200_000), _CLASSES)
    labels[random.random(labels.size) < 2e-3] = -1
    levels = np.sort(random.choice(_LEVELS, labels.size, p=(0.75, 0.2, 0.05)))
    arguments = {"labels": labels, "levels": levels, "mask": np.ones(labels.shape, dtype=bool)}
    return Case(arguments, {"num_classes": _CLASSES, "num_levels": _LEVELS}, ANY[0], origin=f"scene {seed}")


def points_of_a_photograph(seed: int) -> Case:
    """What a detector's 2100 points are to learn from a photograph, of 80 classes."""
    labels = points_of_image(seed).labels.astype(np.int64)
    levels = np.repeat(np.arange(_LEVELS), (1600, 400, 100))
    arguments = {"labels": labels, "levels": levels, "mask": np.ones(labels.shape, dtype=bool)}
    return Case(arguments, {"num_classes": 80, "num_levels": _LEVELS}, ANY[0], origin=f"photograph {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def every_candidate_is_counted_once(bench: Bench, case: Case) -> None:
    """Background, ignored and foreground are all; the levels and the classes have the same sums."""
    answer = dict(zip(FIELDS, bench.evaluate(case).outputs, strict=True))
    number = int(case.arguments["mask"].sum())
    kinds = [int(answer[name]) for name in ("background", "ignored", "foreground")]
    bench.expect(sum(kinds) == number, f"{kinds} are not {number} candidates together", case)
    by_level = answer["by_level"].sum(axis=0).tolist()
    bench.expect(by_level == kinds, f"levels sum to {by_level}, expected {kinds}", case)
    by_class = int(answer["by_class"].sum())
    bench.expect(by_class == kinds[2], f"classes sum to {by_class}, expected {kinds[2]}", case)


def reordered(case: Case) -> Case:
    """The candidates in reverse."""
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]


def _relabelled(change: Callable[[Array, int], Array]) -> Function:
    """The census of other labels."""

    def mutant(labels: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
        oracle.count_labels(labels, **keywords)
        return as_outputs(oracle.count_labels(change(np.asarray(labels), keywords["num_classes"]), **keywords))

    return mutant


def _fields(**changes: Callable[[dict[str, Array], dict[str, Any]], Any]) -> Function:
    """The right census with other fields."""

    def mutant(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
        right = dict(zip(FIELDS, as_outputs(oracle.count_labels(**keywords)), strict=True))
        wrong = {name: np.asarray(change(right, keywords)) for name, change in changes.items()}
        return tuple({**right, **wrong}.values())

    return mutant


def _unmasked(*, mask: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    oracle.count_labels(mask=mask, **keywords)
    return as_outputs(oracle.count_labels(**keywords))


def _only_up_to_the_highest(right: dict[str, Array], keywords: dict[str, Any]) -> Array:
    labels = np.asarray(keywords["labels"])
    present = labels[np.asarray(keywords["mask"], dtype=bool) & (labels >= 0) & (labels < keywords["num_classes"])]
    return right["by_class"][: int(present.max(initial=-1)) + 1]


def _images_with_objects(right: dict[str, Array], _: dict[str, Any]) -> Array:
    return np.minimum(right["images"], right["foreground"])


def _kept_as(dtype: type[np.generic]) -> Function:
    def mutant(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
        return tuple(field.astype(dtype).astype(np.int64) for field in as_outputs(oracle.count_labels(**keywords)))

    return mutant


def _filled_up(*, levels: Array, mask: Array, labels: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    missing = np.zeros(max(len(labels) - len(levels), 0), dtype=np.int64)
    levels, mask = np.concatenate([levels, missing]), np.concatenate([mask, missing == 1])
    return as_outputs(oracle.count_labels(labels, levels=levels, mask=mask, **keywords))


@wraps(oracle.count_labels)
def _on_the_last_level(*, num_levels: int, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    levels = np.full(len(keywords["labels"]), num_levels - 1)
    return as_outputs(oracle.count_labels(**{"levels": levels, "num_levels": num_levels, **keywords}))


_ORACLE = oracle.count_labels
_MUTANTS = (
    Mutant("census/ignored-is-background", "ignored candidates counted as background", _relabelled(
        lambda labels, c: np.where(labels == -1, c, labels))),
    Mutant("census/ignored-is-foreground", "everything that is not background counted as foreground",
           _fields(foreground=lambda r, _: r["foreground"] + r["ignored"],
                   images_without_foreground=lambda r, _: int(r["foreground"] + r["ignored"] == 0))),
    Mutant("census/background-is-zero", "label 0 taken for the background", _relabelled(
        lambda labels, c: np.where(labels == 0, c, np.where(labels == c, 0, labels))),
        seen_in="Caffe and torchvision, where the background is 0"),
    Mutant("census/padding-counted", "candidates counted that the mask leaves out", _unmasked),
    Mutant("census/short-by-class", "no entry for classes beyond the highest that occurs",
           _fields(by_class=_only_up_to_the_highest), seen_in="numpy.bincount without minlength"),
    Mutant("census/instances-for-images", "instances counted where images are meant",
           _fields(images_by_class=lambda r, _: r["by_class"])),
    Mutant("census/empty-images-left-out", "images without foreground not counted",
           _fields(images=_images_with_objects), seen_in="loaders with filter_empty_gt"),
    Mutant("census/empty-images-inverted", "images with foreground as those without",
           _fields(images_without_foreground=lambda r, _: 1 - r["images_without_foreground"])),
    Mutant("census/levels-from-the-end", "levels in reverse",
           _fields(by_level=lambda r, _: r["by_level"][::-1].copy())),
    Mutant("census/kinds-in-another-order", "levels with the foreground first",
           _fields(by_level=lambda r, _: r["by_level"][:, ::-1].copy())),
    Mutant("census/levels-without-ignored", "levels without their ignored candidates", _fields(
        by_level=lambda r, _: r["by_level"] * (1, 0, 1))),
    Mutant("census/int16", "counts kept in 16 bits", _kept_as(np.int16)),
    Mutant("census/float16", "counts kept in float16", _kept_as(np.float16)),
    Mutant("census/in-place", "its labels overwritten", mistakes.overwriting(_ORACLE, "labels")),
    Mutant("census/raises-on-empty", "an error without candidates", mistakes.failing_on_empty(_ORACLE, "labels")),
    Mutant("census/unchecked", "candidates without a level left out", _filled_up),
    Mutant("census/no-mask-is-none", "nothing counted without a mask", mistakes.without(
        _ORACLE, "mask", "labels", mistakes.none_of)),
    Mutant("census/no-levels-is-last", "all candidates on the last level, without levels", _on_the_last_level),
)  # fmt: skip

_IMPLIED = "implied by CEN-1; kept because a failure then names the law that is broken"
_FEW_WRONG = "a wrong count is wrong for what CEN-1 counts too, but for the mask"

COUNT_LABELS = Technique(
    id="count_labels",
    title="Census of candidates",
    family="detection",
    summary="Background, ignored and foreground candidates of an image, by level and by class.",
    sources=(REVIEW,),
    oracle=_ORACLE,
    arguments=(
        Argument("labels", ("N",), "int", "0..C-1 foreground, C background, -1 ignored"),
        Argument("levels", ("N",), "int", "pyramid level of each candidate"),
        Argument("mask", ("N",), "bool", "only these are counted"),
    ),
    options=(Option("num_classes", 80, "C"), Option("num_levels", 1, "L")),
    outputs=(
        Output("images", (), "int", "1"),
        Output("images_without_foreground", (), "int", "1 if no candidate is foreground"),
        Output("background", (), "int", "candidates with label C"),
        Output("ignored", (), "int", "candidates with label -1"),
        Output("foreground", (), "int", "candidates with a class"),
        Output("by_level", ("L", "3"), "int", "background, ignored and foreground of each level"),
        Output("by_class", ("C",), "int", "foreground of each class"),
        Output("images_by_class", ("C",), "int", "1 for the classes that occur"),
    ),
    requirements=(
        Requirement("CEN-1", Level.MUST, Kind.VALUE, "Each candidate is background, ignored or of a class.", REVIEW,
                    value, an_image, scenes=(anchors_of_an_image, points_of_a_photograph), dtypes=ANY,
                    reaches={"an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any()),
                             "a class that is missing": lambda c: len(set(c.arguments["labels"].tolist())
                                                                      & {0, 1, 2}) == 1}),
        Requirement("CEN-2", Level.MUST, Kind.VALUE, "What the mask leaves out is not counted.", "ruling mask", value,
                    after_a_sampler, dtypes=ANY, no_mutant="CEN-6 shows what its failure looks like in one image"),
        Requirement("CEN-3", Level.MUST, Kind.EMPTY, "An image without foreground or candidates is an image.",
                    "ruling empty-images", value, nothing_to_learn, dtypes=ANY, examples=0.3),
        Requirement("CEN-4", Level.MUST, Kind.CONSERVATION, "All candidates, and each once.", REVIEW,
                    every_candidate_is_counted_once, after_a_sampler, dtypes=ANY, examples=0.3, no_mutant=_IMPLIED),
        Requirement("CEN-5", Level.MUST, Kind.INVARIANCE, "The order of the candidates means nothing.", REVIEW,
                    same_as(reordered, "census in reverse"), after_a_sampler, dtypes=ANY, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("CEN-6", Level.MUST, Kind.INVARIANCE, "Padding (label 0) changes nothing.", "ruling mask",
                    padding(0, labels=0, levels=0, mask=0), an_image, dtypes=ANY, examples=0.3, no_mutant=_FEW_WRONG),
        Requirement("CEN-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, an_image, dtypes=ANY, examples=0.3),
        Requirement("CEN-8", Level.SHOULD, Kind.ERROR, "Labels without a level are refused.", "house rule",
                    refuses(bad_shape("labels")), an_image, dtypes=ANY, examples=0.1),
        Requirement("CEN-9", Level.SHOULD, Kind.EMPTY, "Without levels all are on the first, without a mask all count.",
                    "house rule", leaving_out("levels", "mask"), after_a_sampler, dtypes=ANY, examples=0.2),
    ),
    mutants=_MUTANTS,
    rulings=(
        Ruling("ignored", "Ignored candidates are neither background nor foreground."),
        Ruling("mask", "Only what the mask says is counted: what a sampler drew, or what is not padding."),
        Ruling("empty-images", "An image without foreground is an image: the review divides by all images."),
        Ruling("images-and-instances", "Images and instances of a class are different counts."),
    ),
    not_applicable={
        Kind.GRADIENT: "counts have no gradient", Kind.DETACHED: "counts have no gradient",
        Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.BOUND: "CEN-4 says what they sum to",
        Kind.TIES: "no threshold", Kind.EXTREME: "the scene of CEN-1 has 200,000 candidates",
        Kind.BATCH: "one image; a data set's census is the sum", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
