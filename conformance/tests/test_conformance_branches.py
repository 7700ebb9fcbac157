"""Generated inputs alone reach every branch of the specification: no case distinction of an oracle goes unasked.

The oracles are candidates here, on the inputs of the profile `quick`. Measured are the functions of
`steelyard.reference` that contracts come to: oracles, gradients, and the helpers that these call. Errors are among the
branches: the requirements of kind "error on bad input" reach them.
"""

import ast
import copy
import inspect
import textwrap
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import coverage
import numpy as np

from steelyard.conformance.automatic_mutants import specified_functions
from steelyard.conformance.candidates import CandidateError, quiet
from steelyard.conformance.checking import Bench, Deviation, NotOfferedError
from steelyard.conformance.diagnosis import oracle_functions
from steelyard.conformance.generation import ALL_DTYPES
from steelyard.conformance.judging import Bounds
from steelyard.conformance.profiles import PROFILES
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.searching import feed
from steelyard.reference import checks

ROOT = Path(checks.__file__).parent
VALUES = "a refusal of values: fast implementations do not look at them, so none is asked to refuse"
ONE_IMAGE = "an oracle of one image refuses what an implementation may take for several"
NO_AXIS = "a refusal of one number without an axis: no input of a contract has that shape"
EXPLAINED = {
    "soft_sampling/distribution_focal_loss.py: if (stride <= 0).any():": VALUES,
    "soft_sampling/generalized_focal_loss.py: if not (y_l < y_r).all():": VALUES,
    "soft_sampling/generalized_focal_loss.py: if not ((y_l <= y) & (y <= y_r)).all():": VALUES,
    "soft_sampling/gradient_density.py: if (counts < 0.0).any():": VALUES,
    "soft_sampling/gradient_density.py: if region_counts.ndim != 1:": ONE_IMAGE,
    "soft_sampling/pisa.py: if (a < 0).any():": VALUES,
    "soft_sampling/pisa.py: if not ((channels >= 0) & (channels < np.inf)).all():": VALUES,
    "soft_sampling/pisa.py: if not shape:": NO_AXIS,
    "soft_sampling/pisa_negatives.py: if score.ndim != 1:": ONE_IMAGE,
    "soft_sampling/pisa_negatives.py: if (key == 1.0).any():": VALUES,
}
FAMILIES_THAT_DEMAND_REFUSALS = ("soft_sampling",)  # of the others, reference/tests checks what they refuse


class Inputs(Bench):
    """A bench that asks the oracle and judges nothing: bounds are what a run spends its time on."""

    def bounds(self, case, _dtype, output=0):
        if self.technique.outputs[output].dtype != "float":
            return None
        return self._any(np.asarray(self.oracle(case)[output]))

    def gradient_bounds(self, _case, _argument, expected, _dtype, _value_dtype):
        return self._any(expected)

    def expect_distribution(self, case, test, seed):
        """Thousands of repetitions of one input reach what one reaches."""

    def _any(self, expected):
        return Bounds(np.full(expected.shape, np.inf), np.full(expected.shape, np.inf))


class Kept:
    """A function of the specification, and what it was asked."""

    def __init__(self, function):
        self._function = function
        self.questions = []

    def __call__(self, **keywords):
        self.questions.append(copy.deepcopy(keywords))
        return self._function(**keywords)

    def ask_again(self):
        for keywords in self.questions:
            with suppress(ArithmeticError, LookupError, TypeError, ValueError), quiet():
                self._function(**keywords)


def asked(contract):
    """The oracle and its gradients with every input of every requirement, as the checks of them ask."""
    oracle = Kept(contract.oracle)
    gradients = {name: Kept(function) for name, function in contract.gradients.items()}
    bench = Inputs(contract, oracle_functions(replace(contract, oracle=oracle, gradients=gradients)))
    for requirement in contract.requirements:
        attempt = partial(_attempt, requirement.check, bench)
        feed(
            attempt, requirement, technique=contract.id, profile=PROFILES["quick"], seed_of_run=0, dtypes=ALL_DTYPES
        )  # fmt: skip
    return [oracle, *gradients.values()]


def _attempt(check, bench, case):
    with suppress(CandidateError, Deviation, NotOfferedError):
        check(bench, case)


def gaps(measured, functions):
    """Statements that were not reached, and conditions with an arm that was not, as "file: source"."""
    for function in functions:
        path = Path(inspect.getsourcefile(function))
        lines, first = inspect.getsourcelines(function)
        name = path.relative_to(ROOT).as_posix()
        refusals = dict(_refusals(lines, first))
        _, _, missing, _ = measured.analysis(str(path))
        one_armed = [line for line, (ways, taken) in measured.branch_stats(str(path)).items() if taken < ways]
        for line in sorted({*missing, *one_armed} & set(range(first + 1, first + len(lines)))):
            if line not in refusals or name.startswith(FAMILIES_THAT_DEMAND_REFUSALS):
                yield f"{name}: {lines[refusals.get(line, line) - first].strip()}"


def sources(functions):
    """Every line of the functions, in the same form."""
    for function in functions:
        name = Path(inspect.getsourcefile(function)).relative_to(ROOT).as_posix()
        yield from (f"{name}: {line.strip()}" for line in inspect.getsourcelines(function)[0])


def _refusals(lines, first):
    """Lines of conditions that only raise, each with the line where its condition begins."""
    for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
        if isinstance(node, ast.If) and not node.orelse and all(isinstance(inner, ast.Raise) for inner in node.body):
            for line in range(node.lineno, node.end_lineno + 1):
                yield line + first - 1, node.lineno + first - 1


def test_every_branch_is_reached():
    """Each statement and each arm of the functions that the contracts come to, but for those explained above."""
    contracts = list(TECHNIQUES.values())
    functions = {f for c in contracts for f in specified_functions(c) if ROOT in Path(inspect.getsourcefile(f)).parents}
    kept = [function for contract in contracts for function in asked(contract)]
    measured = coverage.Coverage(branch=True, data_file=None, config_file=False, include=[f"{ROOT}/*"])

    measured.start()
    try:
        for function in kept:
            function.ask_again()
    finally:
        measured.stop()

    found = set(gaps(measured, functions))
    assert sorted(found - set(EXPLAINED)) == []
    assert sorted(set(EXPLAINED) & set(sources(functions)) - found) == []  # no explanation outlives its gap
