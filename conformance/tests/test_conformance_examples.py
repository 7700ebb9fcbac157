"""The examples for users: each runs, and the one that is to catch mistakes catches them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LOSSES = Path("tinydetector") / "losses.py"


@pytest.fixture
def repository(tmp_path):
    """Someone's repository: a copy, for tests change it and runs leave files."""
    return shutil.copytree(
        EXAMPLES / "repository", tmp_path / "repository", ignore=shutil.ignore_patterns("__pycache__")
    )


def run(command, folder):
    """As a CI system's shell does, without what pytest tells its children."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "FORCE_COLOR"):
        environment.pop(name, None)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607 - as a CI system
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def workflow(repository):
    """With every scalar as text: YAML 1.1 reads the key `on` as true."""
    yaml = pytest.importorskip("yaml")
    text = (repository / ".github" / "workflows" / "losses.yml").read_text(encoding="utf-8")
    return yaml.load(text, yaml.BaseLoader)


def test_the_workflow_passes_in_a_repository_whose_loss_is_right(repository):
    """Every command but the installation, in the order of the file; the job's page gets the report.

    The report repeats what the tests judge, so one requirement of it is enough here.
    """
    (job,) = workflow(repository)["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]

    done = [
        run(command.replace("--profile quick", "--profile quick -r FL-1"), repository)
        for command in commands if not command.startswith("pip ")
    ]  # fmt: skip

    assert len(done) == len(commands) - 1 == 2
    assert [step.returncode for step in done] == [0, 0], "".join(step.stdout + step.stderr for step in done)
    assert re.search(r"\b\d+ passed", done[0].stdout)
    assert "every MUST holds" in (repository / "summary.md").read_text(encoding="utf-8")
    assert (repository / "steelyard.xml").is_file()


def test_the_workflow_is_one_that_github_takes(repository):
    """Its keys, and a version for each action."""
    document = workflow(repository)
    (job,) = document["jobs"].values()

    assert set(document) == {"name", "on", "permissions", "jobs"}
    assert set(job) == {"runs-on", "steps"}
    for step in job["steps"]:
        assert len({"uses", "run"} & set(step)) == 1
        assert set(step) <= {"name", "if", "uses", "with", "run"}
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/none@v0"))


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("alpha * loss, (1 - alpha) * loss", "(1 - alpha) * loss, alpha * loss", "FL-4"),
        ("torch.exp(gamma * logsigmoid(-signed))", "(1 - torch.sigmoid(signed)) ** gamma", "FL-7"),
    ],
    ids=["alpha on the negatives", "a power of what rounds to 0"],
)
def test_its_tests_fail_with_a_wrong_loss(repository, right, wrong, found):
    """The package passes only with the right focal loss; the report says which requirement does not hold."""
    text = (repository / LOSSES).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (repository / LOSSES).write_text(text.replace(right, wrong), encoding="utf-8")

    done = run(f"python -m pytest -q -k '{found}'", repository)

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{found} MUST" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_the_jax_example_is_right(tmp_path):
    """Its command, for value and gradient."""
    text = (EXAMPLES / "jax" / "focal_loss.py").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    (steelyard check .*)$", text, re.MULTILINE)
    shutil.copy(EXAMPLES / "jax" / "focal_loss.py", tmp_path)

    done = run(f"{command} -r FL-1 -r FL-2", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_index_names_every_example():
    """A row for each folder."""
    rows = re.findall(r"^\| \[(\w+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(rows) == {entry.name for entry in EXAMPLES.iterdir() if entry.is_dir()}
