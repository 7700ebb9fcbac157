"""Contracts of the indices of diversity.

Hill, "Diversity and Evenness: A Unifying Notation and Its Consequences", Ecology 1973; Shannon 1948; Simpson 1949;
Kullback and Leibler 1951; Kish 1965.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance.checking import Bench, reduces_to
from steelyard.conformance.contract import Array, Case, Kind, Mutant, Output, Ruling, Technique
from steelyard.conformance.detection.count_vectors import (
    EVERYWHERE,
    PRESENT_ONLY,
    WITH_PRESENT_ONLY,
    CountInputs,
    count_argument,
    index_requirements,
    law,
    plain_mutants,
    transfer,
    within,
)
from steelyard.reference.detection import diversity_indices as oracle

_SHANNON, _HILL = "Shannon, Bell System Technical Journal, 1948", "Hill, Ecology, 1973"
_RULINGS = (
    Ruling("absent", "0 ln 0 is 0; classes that do not occur stay among the C classes, unless present_only."),
    Ruling("one-class", "A single class: entropy 0, and as even as it can be (0/0 is 1)."),
    Ruling("nothing", "Where nothing was counted nothing can be said: NaN."),
    Ruling("int64", "A data set has more than 2^31 anchors."),
    Ruling("nats", "Logarithms are natural."),
)
_COUNTS, _COUNTS_OF_PRESENT = CountInputs(), CountInputs(options=WITH_PRESENT_ONLY)

Function = Callable[..., Any]


def _size(of: Callable[[Array], float], name: str = "counts") -> Callable[[Case], tuple[int, Array]]:
    """Number of terms, and the sum of their absolute values."""

    def summands(case: Case) -> tuple[int, Array]:
        n = case.arguments[name]
        return len(n), np.asarray(np.nan_to_num(of(n)) if n.any() else 0.0)

    return summands


def _log_of_classes(n: Array) -> float:
    """An upper bound of every partial sum of the entropy; of ln C and the entropy together twice that."""
    return 2.0 * float(np.log(len(n))) + 1.0


def _shares(n: Array) -> Array:
    return n / n.sum()


def _changed(right: Function, change: Callable[[Array], float], name: str = "counts") -> Function:
    """Another number of the counts; of what occurs, if so asked."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        right(**keywords)
        n = np.asarray(keywords[name], dtype=np.float64)
        n = n[n > 0] if keywords.get("present_only") and n.any() else n
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(change(n) if n.any() else np.nan)

    return mutant


def _always(right: Function, *, present_only: bool) -> Function:
    return lambda **keywords: right(**{**keywords, "present_only": present_only})


def _scaled(right: Function, factor: float) -> Function:
    return lambda **keywords: factor * np.asarray(right(**keywords))


def _shared(right: Function) -> tuple[tuple[str, str, Function], ...]:
    """Mistakes of every function that has a logarithm."""
    return (
        ("bits", "logarithms of base 2", _scaled(right, 1.0 / np.log(2.0))),
        ("zero-times-log", "NaN where a class does not occur",
         _changed(right, lambda n: float(right(counts=n)) if n.all() else np.nan)),
    )  # fmt: skip


def _entropy_with_epsilon(n: Array) -> float:
    p = _shares(n)
    return float(-(p * np.log(p + 1e-6)).sum())


_ENTROPY = oracle.entropy

ENTROPY = Technique(
    id="entropy",
    title="Entropy of the classes",
    family="detection",
    summary="Shannon's entropy of the shares of the classes, in nats.",
    sources=(_SHANNON,),
    oracle=_ENTROPY,
    arguments=(count_argument(),),
    options=(),
    outputs=(Output("entropy", (), "float", "in [0, ln C]"),),
    summands=_size(_log_of_classes),
    requirements=index_requirements(
        "ENT", _COUNTS, ("H is minus the sum of p ln p.", _SHANNON),
        of_equal="Equal counts have entropy ln C.", of_absent="A class that does not occur adds nothing.",
        of_single="A single class has entropy 0.",
        laws=(
            law(Kind.BOUND, "H lies in [0, ln C].", within(0.0, lambda n: float(np.log(len(n)))), _COUNTS, "ENT"),
            law(Kind.BOUND, "Evening the counts out does not lower it.", transfer(1), _COUNTS, "ENT"),
        ),
    ),
    mutants=(
        *(Mutant(f"entropy/{fault}", summary, function) for fault, summary, function in _shared(_ENTROPY)),
        Mutant("entropy/epsilon", "1e-6 in the logarithm", _changed(_ENTROPY, _entropy_with_epsilon)),
        Mutant("entropy/raw-counts", "logarithms of the counts", _changed(
            _ENTROPY, lambda n: float(-(_shares(n) * np.log(np.maximum(n, 1e-300))).sum()))),
        Mutant("entropy/normalised", "H / ln C", oracle.normalised_entropy),
        Mutant("entropy/mean", "the mean over the classes", _changed(
            _ENTROPY, lambda n: float(_ENTROPY(n)) / len(n))),
        *plain_mutants("entropy", _ENTROPY),
    ),
    rulings=_RULINGS,
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "no simpler technique"},
)  # fmt: skip

_EVENNESS = oracle.normalised_entropy

NORMALISED_ENTROPY = Technique(
    id="normalised_entropy",
    title="Normalised entropy of the classes",
    family="detection",
    summary="Entropy by its maximum, ln C: Pielou's evenness.",
    sources=("Pielou, Journal of Theoretical Biology, 1966", _SHANNON),
    oracle=_EVENNESS,
    arguments=(count_argument(),),
    options=(PRESENT_ONLY,),
    outputs=(Output("evenness", (), "float", "in [0, 1]"),),
    summands=_size(lambda _: 3.0),
    requirements=index_requirements(
        "NENT", _COUNTS_OF_PRESENT, ("The evenness is H / ln C.", "Pielou 1966"),
        of_equal="Equal counts have evenness 1.",
        of_absent="Classes that do not occur are among the C, unless they are left out.",
        of_single="A single class has evenness 1.",
        laws=(
            law(Kind.BOUND, "It lies in [0, 1].", within(0.0, lambda _: 1.0), _COUNTS_OF_PRESENT, "NENT"),
            law(Kind.BOUND, "Evening the counts out does not lower it.", transfer(1), _COUNTS_OF_PRESENT, "NENT"),
        ),
    ),
    mutants=(
        Mutant("normalised-entropy/two-bases", "bits by ln C", _scaled(_EVENNESS, 1.0 / np.log(2.0))),
        Mutant("normalised-entropy/absent-dropped", "absent classes left out, unasked",
               _always(_EVENNESS, present_only=True)),
        Mutant("normalised-entropy/absent-kept", "absent classes also where they are to be left out",
               _always(_EVENNESS, present_only=False)),
        Mutant("normalised-entropy/zero-by-zero", "NaN for a single class", _changed(
            _EVENNESS, lambda n: float(_EVENNESS(n)) if len(n) > 1 else np.nan)),
        Mutant("normalised-entropy/plain", "H itself", _changed(_EVENNESS, lambda n: float(_ENTROPY(n)))),
        *plain_mutants("normalised-entropy", _EVENNESS),
    ),
    rulings=_RULINGS,
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "no simpler technique"},
)  # fmt: skip

_PERPLEXITY = oracle.perplexity

PERPLEXITY = Technique(
    id="perplexity",
    title="Perplexity of the classes",
    family="detection",
    summary="Number of equally frequent classes of the same entropy: Hill's number of order 1.",
    sources=(_HILL,),
    oracle=_PERPLEXITY,
    arguments=(count_argument(),),
    options=(),
    outputs=(Output("classes", (), "float", "in [1, C]"),),
    summands=_size(lambda n: _log_of_classes(n) * len(n)),
    requirements=index_requirements(
        "PPL", _COUNTS, ("The perplexity is e^H.", _HILL),
        of_equal="Equal counts have perplexity C.", of_absent="A class that does not occur adds nothing.",
        of_single="A single class has perplexity 1.",
        laws=(
            law(Kind.REDUCES_TO, "Its logarithm is the entropy.",
                reduces_to(lambda c: np.exp(_ENTROPY(c.arguments["counts"]))), _COUNTS, "PPL"),
            law(Kind.BOUND, "It lies in [1, C].", within(1.0, lambda n: float(len(n))), _COUNTS, "PPL"),
            law(Kind.BOUND, "Evening the counts out does not lower it.", transfer(1), _COUNTS, "PPL"),
        ),
    ),
    mutants=(
        Mutant("perplexity/two-bases", "2^H of H in nats", lambda **k: np.asarray(_PERPLEXITY(**k)) ** np.log(2.0)),
        Mutant("perplexity/e-to-bits", "e^H of H in bits", lambda **k: (
            np.asarray(_PERPLEXITY(**k)) ** (1.0 / np.log(2.0)))),
        Mutant("perplexity/zero-times-log", "NaN where a class does not occur", _changed(
            _PERPLEXITY, lambda n: float(_PERPLEXITY(n)) if n.all() else np.nan)),
        Mutant("perplexity/order-two", "Hill's number of order 2", oracle.inverse_simpson),
        Mutant("perplexity/present", "the number of classes that occur", _changed(
            _PERPLEXITY, lambda n: float((n > 0).sum()))),
        *plain_mutants("perplexity", _PERPLEXITY),
    ),
    rulings=_RULINGS,
    not_applicable=EVERYWHERE,
)  # fmt: skip

_INVERSE, _GINI_SIMPSON = oracle.inverse_simpson, oracle.gini_simpson


def at_most_the_perplexity(bench: Bench, case: Case) -> None:
    """Hill's numbers fall with their order."""
    found = float(bench.evaluate(case).outputs[0])
    highest = float(_PERPLEXITY(case.arguments["counts"]))
    bench.expect(1.0 - 1e-6 <= found <= highest * (1 + 1e-5), f"{found:.9g} is not in [1, {highest:.9g}]", case)


INVERSE_SIMPSON = Technique(
    id="inverse_simpson",
    title="Inverse Simpson index",
    family="detection",
    summary="Hill's number of order 2: one by the chance that two samples are of one class.",
    sources=(_HILL, "Simpson, Nature, 1949"),
    oracle=_INVERSE,
    arguments=(count_argument(),),
    options=(),
    outputs=(Output("classes", (), "float", "in [1, C]"),),
    summands=_size(lambda n: float(len(n))),
    requirements=index_requirements(
        "ISI", _COUNTS, ("The index is 1 by the sum of p^2.", _HILL),
        of_equal="Equal counts have index C.", of_absent="A class that does not occur adds nothing.",
        of_single="A single class has index 1.",
        laws=(
            law(Kind.BOUND, "At least 1, at most the perplexity.", at_most_the_perplexity, _COUNTS, "ISI"),
            law(Kind.BOUND, "Evening the counts out does not lower it.", transfer(1), _COUNTS, "ISI"),
        ),
    ),
    mutants=(
        Mutant("inverse-simpson/not-inverted", "the sum of p^2", _changed(
            _INVERSE, lambda n: float((_shares(n) ** 2).sum()))),
        Mutant("inverse-simpson/raw-counts", "the sum of n^2", _changed(_INVERSE, lambda n: 1.0 / float((n**2).sum()))),
        Mutant("inverse-simpson/order-one", "Hill's number of order 1", oracle.perplexity),
        Mutant("inverse-simpson/from-one", "one less", lambda **k: np.asarray(_INVERSE(**k)) - 1.0),
        Mutant("inverse-simpson/absent-counted", "a sample of each class that does not occur", _changed(
            _INVERSE, lambda n: float(_INVERSE(np.where(n > 0, n, 1.0))))),
        *plain_mutants("inverse-simpson", _INVERSE),
    ),
    rulings=_RULINGS[:4],
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "no simpler technique"},
)  # fmt: skip


def _without_replacement(n: Array) -> float:
    total = n.sum()
    return 1.0 - float((n * (n - 1.0)).sum() / (total * (total - 1.0))) if total > 1 else 0.0


GINI_SIMPSON = Technique(
    id="gini_simpson",
    title="Gini-Simpson index",
    family="detection",
    summary="Chance that two random samples are of different classes.",
    sources=("Simpson, Nature, 1949",),
    oracle=_GINI_SIMPSON,
    arguments=(count_argument(),),
    options=(),
    outputs=(Output("chance", (), "float", "in [0, (C - 1) / C]"),),
    summands=_size(lambda _: 2.0),
    requirements=index_requirements(
        "GSI", _COUNTS, ("The index is 1 less the sum of p^2.", "Simpson 1949"),
        of_equal="Equal counts have index (C - 1) / C.", of_absent="A class that does not occur adds nothing.",
        of_single="A single class has index 0.",
        laws=(
            law(Kind.REDUCES_TO, "It is 1 less one by the inverse Simpson index.",
                reduces_to(lambda c: np.asarray(1.0 - 1.0 / _INVERSE(c.arguments["counts"]))), _COUNTS, "GSI"),
            law(Kind.BOUND, "It lies in [0, (C - 1) / C].", within(0.0, lambda n: 1.0 - 1.0 / len(n)), _COUNTS, "GSI"),
            law(Kind.BOUND, "Evening the counts out does not lower it.", transfer(1), _COUNTS, "GSI"),
        ),
    ),
    mutants=(
        Mutant("gini-simpson/same-class", "the chance that both are of one class",
               lambda **k: 1.0 - np.asarray(_GINI_SIMPSON(**k))),
        Mutant("gini-simpson/without-replacement", "n (n - 1) in place of n^2", _changed(
            _GINI_SIMPSON, _without_replacement)),
        Mutant("gini-simpson/absent-counted", "a sample of each class that does not occur", _changed(
            _GINI_SIMPSON, lambda n: float(_GINI_SIMPSON(np.where(n > 0, n, 1.0))))),
        Mutant("gini-simpson/normalised", "by its maximum", _changed(
            _GINI_SIMPSON, lambda n: float(_GINI_SIMPSON(n)) * len(n) / max(len(n) - 1, 1))),
        *plain_mutants("gini-simpson", _GINI_SIMPSON),
    ),
    rulings=_RULINGS[:4],
    not_applicable=EVERYWHERE,
)  # fmt: skip

_DIVERGENCE = oracle.divergence_from_uniform


def _log_classes_less_entropy(case: Case) -> Array:
    n = case.arguments["counts"]
    number = (n > 0).sum() if case.options["present_only"] else len(n)
    return np.asarray(np.log(number) - _ENTROPY(n))


DIVERGENCE_FROM_UNIFORM = Technique(
    id="divergence_from_uniform",
    title="Divergence from equal shares",
    family="detection",
    summary="Kullback-Leibler divergence of the classes' shares from equal ones, in nats.",
    sources=("Kullback and Leibler, Annals of Mathematical Statistics, 1951",),
    oracle=_DIVERGENCE,
    arguments=(count_argument(),),
    options=(PRESENT_ONLY,),
    outputs=(Output("divergence", (), "float", "in [0, ln C]"),),
    summands=_size(_log_of_classes),
    requirements=index_requirements(
        "DFU", _COUNTS_OF_PRESENT, ("The divergence is the sum of p ln(C p).", "Kullback and Leibler 1951"),
        of_equal="Equal counts have divergence 0.",
        of_absent="A class that does not occur adds nothing, and is among the C unless left out.",
        of_single="A single class has divergence 0.",
        laws=(
            law(Kind.REDUCES_TO, "It is ln C - H.", reduces_to(_log_classes_less_entropy), _COUNTS_OF_PRESENT, "DFU"),
            law(Kind.BOUND, "It lies in [0, ln C].", within(0.0, lambda n: float(np.log(len(n)))), _COUNTS_OF_PRESENT,
                "DFU"),
            law(Kind.BOUND, "Evening the counts out does not raise it.", transfer(-1), _COUNTS_OF_PRESENT, "DFU"),
        ),
    ),
    mutants=(
        Mutant("divergence/bits", "logarithms of base 2", _scaled(_DIVERGENCE, 1.0 / np.log(2.0))),
        Mutant("divergence/zero-times-log", "NaN where a class does not occur", _changed(
            _DIVERGENCE, lambda n: float(_DIVERGENCE(n)) if n.all() else np.nan)),
        Mutant("divergence/exchanged", "the divergence of equal shares from these", _changed(
            _DIVERGENCE, lambda n: float(-np.log(len(n) * _shares(n)).mean()))),
        Mutant("divergence/absent-dropped", "absent classes left out, unasked",
               _always(_DIVERGENCE, present_only=True)),
        Mutant("divergence/absent-kept", "absent classes also where they are to be left out",
               _always(_DIVERGENCE, present_only=False)),
        Mutant("divergence/entropy", "the entropy", _changed(_DIVERGENCE, lambda n: float(_ENTROPY(n)))),
        *plain_mutants("divergence", _DIVERGENCE),
    ),
    rulings=_RULINGS,
    not_applicable=EVERYWHERE,
)  # fmt: skip

_KISH = oracle.effective_sample_size
_WEIGHTS = CountInputs("weights")

EFFECTIVE_SAMPLE_SIZE = Technique(
    id="effective_sample_size",
    title="Effective sample size",
    family="detection",
    summary="Kish's number of equally weighted samples: what soft sampling leaves of a mini-batch.",
    sources=("Kish, Survey Sampling, 1965",),
    oracle=_KISH,
    arguments=(count_argument("weights", "N", "weight of each sample, >= 0"),),
    options=(),
    outputs=(Output("samples", (), "float", "in [1, N]"),),
    summands=_size(lambda n: float(len(n)), "weights"),
    requirements=index_requirements(
        "ESS", _WEIGHTS, ("The size is (sum w)^2 / sum w^2.", "Kish 1965"),
        of_equal="Equal weights count all samples.", of_absent="A sample of weight 0 is none.",
        of_single="A single sample is one.",
        laws=(
            law(Kind.BOUND, "It lies in [1, N].", within(1.0, lambda n: float(len(n))), _WEIGHTS, "ESS"),
            law(Kind.BOUND, "Evening the weights out does not lower it.", transfer(1), _WEIGHTS, "ESS"),
        ),
    ),
    mutants=(
        Mutant("effective-sample-size/sum", "the sum of the weights", _changed(
            _KISH, lambda n: float(n.sum()), "weights")),
        Mutant("effective-sample-size/share", "as a share of the samples", _changed(
            _KISH, lambda n: float(_KISH(n)) / len(n), "weights")),
        Mutant("effective-sample-size/unsquared", "the sum over the sum of squares", _changed(
            _KISH, lambda n: float(n.sum() / (n**2).sum()), "weights")),
        Mutant("effective-sample-size/all-samples", "the number of weights that are not 0", _changed(
            _KISH, lambda n: float((n > 0).sum()), "weights")),
        Mutant("effective-sample-size/zero-is-one", "weight 0 taken as not given", _changed(
            _KISH, lambda n: float(_KISH(np.where(n > 0, n, 1.0))), "weights")),
        *plain_mutants("effective-sample-size", _KISH, "weights"),
    ),
    rulings=_RULINGS[:4],
    not_applicable={**EVERYWHERE, Kind.REDUCES_TO: "equal to the inverse Simpson index, of weights"},
)  # fmt: skip
