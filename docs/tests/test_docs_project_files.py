"""What stands beside the code: each command of CONTRIBUTING runs, the citation is one, the pages know each other."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from steelyard.conformance.version import __version__

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = [command for row in re.findall(r"^\| .* \| (.*) \|$", CONTRIBUTING, re.MULTILINE)
            for command in re.findall(r"`([^`]+)`", row.partition(" (or")[0])]  # fmt: skip
ELSEWHERE = {
    ".ci/run": "this is run by it",
    "python -m pytest reference": "by .ci/run, with the other rooms",
    "steelyard mutants -t sigmoid_focal_loss": "minutes; one mutant is run here",
    "python docs/build.py": "by docs/tests/test_docs_site.py",
    "python -m pytest -m slow docs": "by .ci/run",
    "ruff check . && ruff format --check . && mypy && lint-imports": "by .ci/run",
}
"""Commands that this test does not run, and who does."""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_contributing_runs(command):
    """With status 0, and something to show for it; the long ones are run elsewhere."""
    if command in ELSEWHERE:
        assert (ROOT / ".ci" / "run").is_file()
        return
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-euc", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,  # noqa: S607
        timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* (?:of \d+ mutants killed|passed|pass)", done.stdout), done.stdout


def test_the_commands_are_found():
    """The table was read, and nothing is excused that it does not have."""
    assert len(COMMANDS) >= 9
    assert set(ELSEWHERE) <= set(COMMANDS)
    assert len(set(COMMANDS) - set(ELSEWHERE)) >= 3


def test_the_citation_is_one():
    """What the Citation File Format 1.2.0 demands, with the version and licence of the package."""
    yaml = pytest.importorskip("yaml", reason="comes with the extra: docs")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation.keys() <= {
        "abstract", "authors", "cff-version", "keywords", "license", "message", "title", "type", "version",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == __version__
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]


def test_the_changelog_has_the_next_version_first():
    """And its links are none to a host that is not known yet."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert headings[0] in ("Unreleased", __version__)


def test_a_reader_finds_the_policies():
    """Each is linked to where one would look."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert "(CONTRIBUTING.md)" in readme
    assert "(SECURITY.md)" in CONTRIBUTING
    assert "(docs/versioning.md)" in CONTRIBUTING
    assert "(docs/add-a-technique.md)" in CONTRIBUTING
