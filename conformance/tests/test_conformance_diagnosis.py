"""What a failure looks like: known mistakes are named as themselves, unknown ones as unknown, dialects as dialects."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard.conformance.candidates import CandidateError, OwnFunctions
from steelyard.conformance.contract import Case
from steelyard.conformance.diagnosis import (
    NONE_FITS,
    diagnose,
    diagnose_distribution,
    mutant_functions,
    oracle_functions,
)
from steelyard.conformance.generation import SeededDraw
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.running import Plan, judge_own

FOCAL = TECHNIQUES["sigmoid_focal_loss"]
NORMALISED = TECHNIQUES["normalise_focal_loss"]


def judged(contract, functions, *requirements):
    """The results of some requirements, by id, as a run of the profile `quick` finds them."""
    plan = Plan(profile="quick", requirements=frozenset(requirements))
    return {found.id: found for found in judge_own(contract, functions, plan).requirements}


def cases(contract, requirement, count, seed=""):
    generate = contract.requirement(requirement).cases
    return [generate(SeededDraw(f"{seed}{number}", ("float64",))) for number in range(count)]


def mutant(mutant_id):
    return next(m for m in FOCAL.mutants if m.id == mutant_id)


def focal(function):
    return OwnFunctions("mine", FOCAL.id, function, frozenset({"alpha", "gamma"}), {})


@pytest.mark.parametrize(
    ("technique", "mutant_id", "requirement"),
    [
        ("sigmoid_focal_loss", "focal/p-t-swapped", "FL-1"),
        ("sigmoid_focal_loss", "focal/alpha-squared", "FL-1"),
        ("sigmoid_focal_loss", "focal/alpha-squared", "FL-2"),
        ("sigmoid_focal_loss", "focal/gamma-on-p", "FL-1"),
        ("sigmoid_focal_loss", "focal/detached-factor", "FL-2"),
        ("softmax_focal_loss", TECHNIQUES["softmax_focal_loss"].mutants[0].id, "SFL-1"),
        ("quality_focal_loss", "quality-focal/hard-target", "QFL-1"),
        ("quality_focal_loss", "quality-focal/focal-alpha", "QFL-1"),
        ("normalise_focal_loss", "focal-normaliser/by-anchors", "NORM-1"),
        ("ghm_classification_loss", "ghm-classification/upper-closed", "GHMC-6"),
        ("ssd_confidence_loss", "ssd/last-of-equals", "SSD-11"),
        ("ssd_confidence_loss", "ssd/quickselect", "SSD-11"),
        ("stratified_hard_example_mining", "stratified/last-of-equals", "SH-4"),
        ("stratified_hard_example_mining", "stratified/quickselect", "SH-4"),
    ],
)
def test_known_mistake_is_named_as_itself(technique, mutant_id, requirement):
    """Submitted as a candidate, a mutant of the catalogue is recognised: its id, and a sentence that describes it."""
    contract = TECHNIQUES[technique]

    found = judged(contract, mutant_functions(contract, mutant_id), requirement)[requirement]

    summary = next(m.summary for m in contract.mutants if m.id == mutant_id)
    assert (found.status, found.diagnosis) == ("fail", mutant_id)
    assert found.explanation.startswith(f"equals the oracle with {summary}")


@pytest.mark.parametrize(
    ("technique", "mutant_id", "requirement", "status"),
    [
        ("distribution_focal_loss", "distribution-focal/index-error", "DFL-4", "error"),
        ("distribution_focal_loss", "distribution-focal/extrapolating", "DFL-20", "fail"),
        ("isr_p_weights", "isr-p/written-into-label-weights", "IP-18", "fail"),
        ("distances_from_boxes", "distances/broadcast", "DFB-11", "fail"),
        ("distances_from_boxes", "distances/one-point-for-all", "DFB-11", "fail"),
        ("boxes_from_distances", "boxes/one-point-for-all", "BFD-9", "fail"),
        ("normalise_focal_loss", "focal-normaliser/no-floor", "NORM-9", "fail"),
    ],
)
def test_a_failure_without_numbers_is_named_by_how_it_ends(technique, mutant_id, requirement, status):
    """An error, an answer where an error belongs, an input written to: the one mutant that ends so is named."""
    contract = TECHNIQUES[technique]

    found = judged(contract, mutant_functions(contract, mutant_id), requirement)[requirement]

    summary = next(m.summary for m in contract.mutants if m.id == mutant_id)
    assert (found.status, found.diagnosis) == (status, mutant_id)
    assert found.explanation.startswith(f"fails as the oracle does with {summary}")


def with_own_keys(contract, mutant_id):
    """A mutant that takes no keys and draws its own."""
    function = next(m for m in contract.mutants if m.id == mutant_id).function
    keys = [argument.name for argument in contract.arguments if argument.is_key]
    first = contract.arguments[0].name
    random = np.random.default_rng(0)

    def drawing(**given):
        own = {key: random.random(given[first].shape) for key in keys}
        return function(**{**given, **own})

    options = frozenset(option.name for option in contract.options)
    return OwnFunctions("mine", contract.id, drawing, options, {}, frozenset(keys))


def test_a_draw_is_named_by_how_many_it_draws():
    """No two draws are equal, but only one known mistake draws these numbers."""
    contract = TECHNIQUES["instance_balanced_positives"]
    candidate = with_own_keys(contract, "instance-balanced/repeats")

    found = judged(contract, candidate, "IBP-2")["IBP-2"]

    assert (found.status, found.diagnosis) == ("fail", "instance-balanced/own-repeats")


def test_a_draw_is_named_by_its_frequencies():
    """Two known mistakes deviate in the frequencies of pairs, one of them in the same ones."""
    whole = TECHNIQUES["instance_balanced_positives"]
    few = [m for m in whole.mutants if m.id.rpartition("/")[2] in ("own-repeats", "repeats", "no-fill")]
    contract = replace(whole, mutants=tuple(few))
    requirement = contract.requirement("IBP-10")
    case = requirement.cases(SeededDraw("d", ("float32",)))
    candidate = with_own_keys(contract, "instance-balanced/repeats")

    found = diagnose_distribution(contract, candidate, None, requirement, case)

    assert found.id == "instance-balanced/own-repeats"
    assert "the same frequencies in 2000 draws" in found.sentence


def test_of_equal_outcomes_the_mistake_with_the_same_numbers_is_named():
    """Two mistakes ask for no labels; what they divide by elsewhere tells them apart."""
    for mutant_id in ("focal-normaliser/by-elements", "focal-normaliser/spatial-mean"):
        found = judged(NORMALISED, mutant_functions(NORMALISED, mutant_id), "NORM-4", "NORM-9")

        assert [found[id_].diagnosis for id_ in ("NORM-4", "NORM-9")] == [mutant_id] * 2


def test_a_mistake_in_one_output_is_explained_beside_one_in_another():
    """Positives as they come, and negatives by a ratio: the requirement's words are about the negatives."""
    contract = TECHNIQUES["stratified_hard_example_mining"]
    mistakes = {one.id.partition("/")[2]: one.function for one in contract.mutants}

    def mixed(losses, labels, **options):
        negative = mistakes["negatives-by-ratio"](losses, labels, **options)[1]
        return np.isin(labels, range(options["num_classes"])), negative

    candidate = OwnFunctions("mine", contract.id, mixed, frozenset(option.name for option in contract.options), {})
    many = np.where(np.arange(12) < 2, 0, 3)[None]
    options = {"num_classes": 3, "num_samples": 10, "positive_fraction": 0.5, "negatives_per_positive": None}
    few = Case({"losses": np.arange(12.0)[None], "labels": many}, options)
    more = Case({"losses": np.arange(12.0)[None], "labels": 3 - many}, options)

    found = diagnose(contract, candidate, None, [few], [more], gradient=False)

    assert found.id == "stratified/negatives-by-ratio"
    assert found.sentence.startswith("negative alone: ")


def test_mistakes_that_a_check_cannot_tell_apart_are_all_named():
    """One mistake under two names: both are named, and no id is given."""
    one = mutant("focal/broadcast")
    contract = replace(FOCAL, mutants=(one, replace(one, id="focal/again"), mutant("focal/alpha-squared")))

    found = judged(contract, mutant_functions(contract, one.id), "FL-16")["FL-16"]

    assert found.diagnosis is None
    assert found.explanation.startswith("fails as known mistakes do that this check does not tell apart")
    assert "(focal/broadcast)" in found.explanation
    assert "(focal/again)" in found.explanation
    assert "alpha-squared" not in found.explanation


@pytest.mark.parametrize(
    ("requirement", "mistake"), [("IBN-6", "iou-balanced/largest-left-out"), ("IBN-7", "iou-balanced/floor-moved")]
)
def test_a_certain_candidate_that_is_missed_is_explained_by_how_often_pairs_are_drawn(requirement, mistake):
    """Several known mistakes miss it too; they draw others in its place."""
    contract = TECHNIQUES["iou_balanced_negatives"]

    found = judged(contract, with_own_keys(contract, mistake), requirement)[requirement]

    assert found.diagnosis == mistake
    assert "the same frequencies in 400 draws" in found.explanation


def test_an_answer_where_an_error_belongs_is_compared_with_the_mistakes_answers():
    """Soft targets: each convention is told from the others, and one that nobody has is none of them."""
    soft = [one.id for one in FOCAL.mutants if one.id.startswith("focal/soft-")]

    def rounded(logits, targets, **options):
        return mutant("focal/unchecked").function(logits, np.round(targets), **options)

    assert len(soft) == 3
    for mutant_id in soft:
        assert judged(FOCAL, mutant_functions(FOCAL, mutant_id), "FL-22")["FL-22"].diagnosis == mutant_id
    found = judged(FOCAL, focal(rounded), "FL-22")["FL-22"]
    assert (found.status, found.diagnosis, found.explanation) == ("fail", None, NONE_FITS)


def test_a_mistake_beside_an_order_that_nobody_promises_is_named_in_part():
    """Negatives without a positive, and equal losses in no known order; ordinary inputs have none."""
    contract = TECHNIQUES["hard_negative_mining"]
    mistake = "hard-negatives/at-least-one-positive"
    function = next(one.function for one in contract.mutants if one.id == mistake)
    random = np.random.default_rng(0)

    def shuffled(losses, labels, **options):
        order = random.permutation(np.shape(losses)[-1])
        found = function(losses[..., order], labels[..., order], **options)
        return tuple(one[..., np.argsort(order)] for one in found)

    options = frozenset(option.name for option in contract.options)
    failing = Case(
        {"losses": np.zeros((1, 1)), "labels": np.full((1, 1), 3)},
        {"num_classes": 3, "negatives_per_positive": 3.0, "min_negatives": 0},
    )
    ties = [
        Case({"losses": np.zeros((1, 9)), "labels": np.where(np.arange(9) == 4, 0, 3)[None]}, failing.options)
        for _ in range(6)
    ]
    asked = (contract, OwnFunctions("mine", contract.id, shuffled, options, {}), None, [failing], ties)
    ordinary = cases(contract, "HN-1", 4)

    assert diagnose(*asked, ordinary, gradient=False).id is None
    found = diagnose(*asked, ordinary, gradient=False, partly=True)
    assert found.id == mistake
    assert found.sentence.startswith("in part, for it does not fit all inputs: ")


def test_mix_of_two_mistakes_is_none_known():
    """Half of the elements as one mutant has them and half as another: no single mistake explains both."""
    one, other = mutant("focal/alpha-on-negatives").function, mutant("focal/gamma-on-p").function

    def mixed(logits, targets, **options):
        return np.where(logits > 0, one(logits, targets, **options), other(logits, targets, **options))

    found = judged(FOCAL, focal(mixed), "FL-1")["FL-1"]

    assert found.status == "fail"
    assert found.diagnosis is None
    assert found.explanation == NONE_FITS


def test_explanation_must_hold_on_every_failing_input():
    """A candidate with one mistake at gamma 2 and another elsewhere: failing inputs of both kinds, no explanation."""
    one, other = mutant("focal/alpha-squared"), mutant("focal/p-t-swapped")

    def by_gamma(logits, targets, *, alpha, gamma):
        return (one if gamma == 2.0 else other).function(logits, targets, alpha=alpha, gamma=gamma)

    at_two, elsewhere = (
        [case.with_options(alpha=0.25, gamma=gamma) for case in cases(FOCAL, "FL-1", 6)] for gamma in (2.0, 1.0)
    )

    def named(failing, fresh=()):
        return diagnose(FOCAL, focal(by_gamma), None, failing, fresh, gradient=False).id

    assert named(at_two) == one.id
    assert named(elsewhere) == other.id
    assert named(at_two + elsewhere[:1]) is None
    assert named(at_two, elsewhere) is None  # fresh inputs count as well


def test_explanation_must_be_wrong_on_the_failing_input():
    """Where a mutant gives the right answer it explains nothing, though the candidate agrees with it."""
    right_for_both = Case({"logits": np.array([0.5]), "targets": np.array([1])}, {"alpha": 0.5, "gamma": 2.0})

    found = diagnose(FOCAL, oracle_functions(FOCAL), None, [right_for_both], [], gradient=False)

    assert found.id is None


def test_nearest_of_several_explanations_is_named():
    """Off by a trifle from one mutant and by more from another that is within the bound too: the nearer wins."""
    exact = mutant("focal/alpha-squared")
    near = replace(exact, id="near", function=lambda *a, **k: exact.function(*a, **k) * (1 + 2.0**-52))
    contract = replace(FOCAL, mutants=(near, exact))

    found = diagnose(contract, focal(exact.function), None, cases(FOCAL, "FL-1", 4), [], gradient=False)

    assert found.id == exact.id
    assert "largest difference 0 on" in found.sentence


def test_another_shape_is_no_explanation():
    """A sum where elements are wanted is the mutant that sums, not one of those that keep the shape."""
    found = judged(FOCAL, focal(lambda *a, **k: FOCAL.oracle(*a, **k)[:-1]), "FL-1")["FL-1"]

    assert found.diagnosis is None


def test_candidate_that_raises_on_every_input_is_not_diagnosed():
    """There is no number that a mutant could equal."""

    def raising(*_, **__):
        raise ValueError("no")

    assert diagnose(FOCAL, focal(raising), None, cases(FOCAL, "FL-1", 2), [], gradient=False).sentence == NONE_FITS
    assert judged(FOCAL, focal(raising), "FL-1")["FL-1"].status == "error"
    with pytest.raises(CandidateError):
        focal(raising).evaluate(FOCAL.id, cases(FOCAL, "FL-1", 1)[0])


def in_dialect(name):
    """A candidate that always divides like this, and takes no option that would choose it."""
    dialect = next(d for d in NORMALISED.dialects if d.id == name)
    whole = oracle_functions(NORMALISED, dialect)
    taken = frozenset(option.name for option in NORMALISED.options) - NORMALISED.dialect_options
    return dialect, OwnFunctions(name, NORMALISED.id, whole._function, taken, whole._gradients)


@pytest.mark.parametrize("name", [dialect.id for dialect in NORMALISED.dialects])
def test_dialect_is_inferred(name):
    """From the answers alone; where it departs from the paper, the result says so, and the verdict is "conforms"."""
    dialect, functions = in_dialect(name)

    result = judge_own(NORMALISED, functions, Plan(profile="quick"))

    assert (result.verdict, result.dialect) == ("conforms", name)
    departure = f"dialect {name} departs from the paper: {dialect.summary}"
    assert (departure in result.departures) == dialect.departs_from_paper


def test_other_dialect_is_an_explanation():
    """A candidate that takes the option and yet always divides in one way is told which way that is."""
    _, functions = in_dialect("detectron")
    options = frozenset(option.name for option in NORMALISED.options)
    deaf = OwnFunctions("deaf", NORMALISED.id, functions._function, options, {})

    found = judged(NORMALISED, deaf, "NORM-1")["NORM-1"]

    assert (found.status, found.diagnosis) == ("fail", "detectron")
    assert "in the dialect detectron" in found.explanation
