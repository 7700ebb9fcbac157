"""The pytest door: one test a requirement, with the outcomes that pytest has names for."""

import subprocess
import sys

import pytest

from steelyard.conformance.registry import TECHNIQUES

pytest_plugins = ["pytester"]

RIGHT = """
import math

def prior_probability_bias(*, prior=0.01):
    return math.log(prior) - math.log1p(-prior)
"""
WRONG = """
import math

def prior_probability_bias(*, prior=0.01):
    return math.log(prior)
"""
UNCHECKED = """
import numpy as np

def prior_probability_bias(*, prior=0.01):
    return np.log(prior) - np.log1p(-prior)
"""
WITHOUT_GRADIENT = """
import numpy as np

def normalise_focal_loss(losses, labels, *, num_classes, normaliser):
    return losses.sum() / max(1, ((labels >= 0) & (labels < num_classes)).sum())
"""
KNOWN = """
[[known]]
technique = "prior_probability_bias"
requirement = "BIAS-1"
reason = "the head is scaled elsewhere"
"""
REQUIREMENTS = [requirement.id for requirement in TECHNIQUES["prior_probability_bias"].requirements]


@pytest.fixture
def project(pytester, monkeypatch):
    """A user's project with four candidates, judged in the profile quick."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(right=RIGHT, wrong=WRONG, unchecked=UNCHECKED, without_gradient=WITHOUT_GRADIENT)
    pytester.makefile(".toml", known=KNOWN)
    return pytester


def outcome_of(project, call):
    project.makepyfile(test_mine=f"from steelyard.conformance import conformance_tests\n\ntest_mine = {call}\n")
    return project.runpytest_subprocess("-p", "no:cacheprovider", "-rA", "test_mine.py")


def judged(project, *arguments):
    return project.runpytest_subprocess("-p", "no:cacheprovider", "--steelyard-profile=quick", "-rA", *arguments)


# --- a test file of the user's ------------------------------------------------------------------------------------


def test_ours_passes_in_a_user_s_test_file(project):
    """One passed test a requirement of the technique that was asked for."""
    outcome = outcome_of(
        project, 'conformance_tests("steelyard.impl", technique="prior_probability_bias", profile="quick")'
    )

    outcome.assert_outcomes(passed=len(REQUIREMENTS))


def test_a_wrong_file_fails_with_the_report(project):
    """Requirement, worst element, known mistake and replay line stand in the failure."""
    outcome = outcome_of(project, 'conformance_tests("wrong.py", profile="quick")')

    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    outcome.stdout.fnmatch_lines(
        [
            "*BIAS-1 MUST fail: value: 1 of 1 elements outside the bound*",
            "*worst: got *, expected *",
            "*looks like: equals the oracle with log(prior) instead of the log-odds*",
            "*replay: steelyard replay steelyard-cases?prior_probability_bias-BIAS-1-*.json*",
        ]
    )
    assert len(list(project.path.glob("steelyard-cases/*BIAS-1*.json"))) == 1


def test_a_file_of_known_failures_is_read(project):
    """What is listed is xfailed with its reason, what is not fails."""
    outcome = outcome_of(project, 'conformance_tests("wrong.py", profile="quick", known="known.toml")')

    outcome.stdout.fnmatch_lines(["XFAIL *BIAS-1* - the head is scaled elsewhere"])
    outcome.stdout.fnmatch_lines(["FAILED *BIAS-2*"])


def test_names_and_technique_are_handed_on(project):
    """A function of another name whose option has another name."""
    project.makepyfile(other="import math\n\ndef bias(start):\n    return math.log(start) - math.log1p(-start)\n")

    outcome = outcome_of(
        project,
        'conformance_tests("other.py:bias", technique="prior_probability_bias", names={"prior": "start"}, '
        'profile="quick")',
    )

    outcome.assert_outcomes(passed=len(REQUIREMENTS))


# --- pytest --steelyard -------------------------------------------------------------------------------------------


def test_the_option_collects_one_test_a_requirement(project):
    """And none of the project's own."""
    project.makepyfile(test_own="def test_own():\n    assert False\n")

    outcome = judged(project, "--steelyard=right.py", "--collect-only", "-q")

    collected = [line for line in outcome.outlines if "[" in line]
    assert collected == [f"right.py::prior_probability_bias[{id_}]" for id_ in REQUIREMENTS]
    assert f"{len(REQUIREMENTS)} tests collected" in outcome.stdout.str()


def test_the_option_beside_paths_adds_to_their_tests(project):
    """Who names a path as well gets both."""
    project.makepyfile(test_own="def test_own():\n    pass\n")

    outcome = judged(project, "--steelyard=right.py", "test_own.py", "-k", "own or BIAS-1")

    outcome.assert_outcomes(passed=2, deselected=len(REQUIREMENTS) - 1)
    outcome.stdout.fnmatch_lines([f"collected {len(REQUIREMENTS) + 1} items*"])


def test_processes_share_the_work(project):
    """With pytest-xdist, each process judges its part."""
    outcome = judged(project, "--steelyard=right.py", "-n", "2")

    outcome.assert_outcomes(passed=len(REQUIREMENTS))


def test_a_function_needs_its_technique(project):
    """`--steelyard-as` says what the function implements."""
    project.makepyfile(other="import math\n\ndef bias(prior):\n    return math.log(prior) - math.log1p(-prior)\n")

    outcome = judged(project, "--steelyard=other.py:bias", "--steelyard-as=prior_probability_bias")

    outcome.assert_outcomes(passed=len(REQUIREMENTS))


def test_known_failures_are_xfailed_and_a_mended_one_is_red(project):
    """The list stays true: what holds and is still listed fails."""
    wrong = judged(project, "--steelyard=wrong.py", "--steelyard-known=known.toml", "-k", "BIAS-1")
    mended = judged(project, "--steelyard=right.py", "--steelyard-known=known.toml", "-k", "BIAS-1")

    wrong.assert_outcomes(xfailed=1, deselected=len(REQUIREMENTS) - 1)
    mended.assert_outcomes(failed=1, deselected=len(REQUIREMENTS) - 1)
    mended.stdout.fnmatch_lines(["*BIAS-1 MUST fixed: *take it off the list*"])


def test_what_does_not_bind_is_xfailed(project):
    """A SHOULD that does not hold is shown and does not fail the run."""
    outcome = judged(project, "--steelyard=unchecked.py")

    outcome.assert_outcomes(passed=len(REQUIREMENTS) - 1, xfailed=1)
    assert outcome.ret == pytest.ExitCode.OK
    outcome.stdout.fnmatch_lines(["XFAIL unchecked.py::prior_probability_bias?BIAS-4? - not binding (SHOULD): *"])


def test_what_the_candidate_lacks_is_skipped(project):
    """With the reason."""
    outcome = judged(project, "--steelyard=without_gradient.py", "-k", "NORM-2")

    outcome.assert_outcomes(skipped=1, deselected=len(TECHNIQUES["normalise_focal_loss"].requirements) - 1)
    outcome.stdout.fnmatch_lines(["*no gradient: neither autograd nor a function normalise_focal_loss_grad*"])


def test_the_report_stands_alone(project):
    """No line of the suite's own code in a failure."""
    outcome = judged(project, "--steelyard=wrong.py", "-k", "BIAS-1")

    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    assert "pytest_plugin.py" not in outcome.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steelyard=no_such_module"], "*no_such_module: no module, file or bundled adapter of this name*"),
        (["--steelyard=right.py:prior"], "*right.py:prior: right.py has no prior*"),
        (["--steelyard=right.py", "--steelyard-as=prior_bias"], "*expected an id from `steelyard list`*"),
        (["--steelyard=right.py", "--steelyard-profile=quik"], "*profile*did you mean quick?*"),
        (["--steelyard=right.py", "--steelyard-known=none.toml"], "*none.toml: No such file*"),
    ],
    ids=["module", "function", "technique", "profile", "known"],
)
def test_a_wrong_option_is_one_line(project, arguments, message):
    """Pytest's usage error, not a traceback."""
    outcome = project.runpytest_inprocess("-p", "no:cacheprovider", *arguments)

    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in outcome.stdout.str() + outcome.stderr.str()


# --- in everybody's pytest ----------------------------------------------------------------------------------------


def test_the_plugin_does_not_load_the_suite():
    """It is loaded in every project of an environment: without the option it costs nothing."""
    code = (
        "import sys, steelyard.conformance.pytest_plugin\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('torch', 'scipy', 'numpy', 'hypothesis', 'typer')])"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
