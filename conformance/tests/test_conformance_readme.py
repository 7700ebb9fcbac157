"""The README's two commands, and the promise that the suite needs no PyTorch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(command):
    """The shell block below `<!-- COMMAND command -->`."""
    (found,) = re.findall(rf"^<!-- {command} command -->\n```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return found


def test_the_main_command_installs_and_judges_our_implementation():
    """One line: environment, installation with the tested versions, `steelyard check` on ours."""
    command = marked("main")

    assert command.count("\n") == 1
    assert "pip install -q -c constraints.txt" in command
    assert command.rstrip().endswith(".venv/bin/steelyard check steelyard.impl --profile quick")


def test_the_test_command_installs_and_runs_all_tests():
    """One line that ends with pytest on everything."""
    command = marked("test")

    assert command.count("\n") == 1
    assert "pip install -q -c constraints.txt -e '.[test]'" in command
    assert re.search(r"\.venv/bin/python -m pytest( -q)?( -n \d+)?$", command.rstrip())


def test_ci_takes_the_test_command_from_the_readme():
    """The line of .ci/run that reads the README gives the block, and that is what is run."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (reading,) = re.findall(r"^command=\$\(.*\)$", script, re.MULTILINE)

    printed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{reading}\nprintf "%s\\n" "$command"'],  # noqa: S607 - as .ci/run itself
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert printed.stdout == marked("test")
    assert 'bash -euo pipefail -c "$command"' in script


def test_the_workflow_runs_the_same_script():
    """CI has no steps of its own."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")

    assert re.findall(r"run: (.*)", workflow) == ["bash .ci/run"]


def test_the_files_that_the_commands_name_exist():
    """Constraints and requirements."""
    files = re.findall(r"-[cr] (\S+)", marked("main") + marked("test"))

    assert set(files) == {"constraints.txt", "conformance/tests/requirements-peers.txt"}
    assert all((ROOT / file).is_file() for file in files)


@pytest.mark.parametrize(
    "module", ["", ".doors", ".command_line", ".registry", ".pytest_plugin", ".worker", ".kill_matrix"]
)
def test_the_suite_does_not_import_torch(module):
    """Nor JAX, nor our implementation: only the candidate's process loads what the candidate needs."""
    code = (
        f"import sys, steelyard.conformance{module}\n"
        "loaded = [n for n in sys.modules if n in ('torch', 'jax', 'steelyard.impl')]\n"
        "sys.exit(', '.join(loaded) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_numpy_candidate_is_judged_without_torch(tmp_path):
    """Where PyTorch cannot be imported at all."""
    (tmp_path / "torch.py").write_text("raise ImportError('there is no torch here')\n")
    (tmp_path / "mine.py").write_text(
        "import math\ndef prior_probability_bias(prior):\n    return math.log(prior) - math.log1p(-prior)\n"
    )
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from steelyard.conformance import check\n"
        "sys.exit(check('mine.py', profile='quick').exit_status)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
