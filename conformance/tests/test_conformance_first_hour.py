"""What a newcomer meets in the first hour: where to start, and of each mistake what to do next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steelyard.conformance.command_line import app
from steelyard.conformance.registry import TECHNIQUES

MINE = """\
import numpy as np


def focal(logits, targets, *, alpha=0.25, gamma=2.0):
    return np.zeros((len(logits), 7, 7))
"""


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """A folder with one file of one's own, and the command in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "losses.py").write_text(MINE)
    (tmp_path / "broken.toml").write_text("known failures: none yet\n")
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def without_torch(tmp_path):
    """A run of Python in which `import torch` fails as it does where PyTorch is not installed."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    blocked.joinpath("torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')\n")
    path = os.pathsep.join([str(blocked), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, text=True,
            capture_output=True, check=False, timeout=600,
        )  # fmt: skip

    return run


# --- where to start -----------------------------------------------------------------------------------------------


def test_the_first_steps_are_commands_that_exist(steelyard):
    """Each line that begins with `steelyard` is understood: its words and options are those of a command."""
    said = steelyard().output
    steps = [
        line.split("  ")[0].split()[1:] for line in map(str.strip, said.splitlines()) if line.startswith("steelyard ")
    ]
    steps = [
        step
        for step in steps
        if step[0] in {c.name or c.callback.__name__.rstrip("_") for c in app.registered_commands}
    ]

    assert {step[0] for step in steps} == {"list", "show", "smoke", "check", "adapters"}
    for step in steps:
        options = [word for word in step if word.startswith("--")]
        explained = steelyard(step[0], "--help").output
        assert [option for option in options if option not in explained] == []
    assert max(map(len, said.splitlines())) <= 80


def test_the_shell_completes_commands_techniques_and_targets(tmp_path):
    """As bash asks: words of the line so far, and which one is meant."""

    def completed(*words):
        environment = {
            **os.environ, "_STEELYARD_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", "from steelyard.conformance.command_line import app; app(prog_name='steelyard')"],
            cwd=tmp_path, env=environment, text=True, capture_output=True, check=True, timeout=600,
        )  # fmt: skip
        return done.stdout.split()

    (tmp_path / "losses.py").write_text(MINE)
    assert completed("steelyard", "sh") == ["show"]
    assert completed("steelyard", "show", "sigmoid_focal_loss_") == ["sigmoid_focal_loss_with_labels"]
    assert completed("steelyard", "check", "los") == ["losses.py"]
    assert completed("steelyard", "check", "fv") == ["fvcore"]
    assert completed("steelyard", "check", "x.py", "--profile", "th") == ["thorough"]
    wanted = [r.id for r in TECHNIQUES["sigmoid_focal_loss"].requirements if r.id.startswith("FL-2")]
    assert completed("steelyard", "check", "x.py", "--as", "sigmoid_focal_loss", "-r", "FL-2") == wanted


def test_completion_can_be_installed(steelyard):
    """The two options of every Typer program are there."""
    said = steelyard("--help").output

    assert "--install-completion" in said
    assert "--show-completion" in said


# --- what is wrong, and what to do ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["show", "sigmoid_focal_lose"], 2, "'sigmoid_focal_lose'; did you mean sigmoid_focal_loss?"),
        (["show", "focal_loss"], 2, "did you mean sigmoid_focal_loss, sigmoid_focal_loss_with_labels, softmax"),
        (["show", "OHEM"], 2, "did you mean online_hard_example_mining"),
        (["show", "FL-7"], 2, "got 'FL-7'; FL-7 is a requirement of sigmoid_focal_loss"),
        (["check", "losses.py:focal", "--as", "sigmoid_focal_los"], 2, "did you mean sigmoid_focal_loss?"),
        (["check", "losses.py:focal"], 3, "which technique is it? say --as TECHNIQUE; `steelyard list` names them"),
        (["check", "losses.py:focla"], 3, "losses.py has no focla; did you mean focal?"),
        (["check", "losses.py:mine"], 3, "losses.py has no mine; it defines focal"),
        (["check", "losses.py"], 3, "it defines focal; `steelyard list` names them all, `--as` says which one"),
        (["check", "loses.py"], 3, "loses.py: no such file; did you mean losses.py?"),
        (["check", "torchvison"], 3, "did you mean torchvision?"),
        (["check", "exec:no-such-program"], 3, "no-such-program: No such file or directory; expected exec:COMMAND"),
        (["check", "losses.py:focal", "--as", "sigmoid_focal_loss", "-r", "FL-77"], 2, "did you mean FL-7?"),
        (["check"], 2, "TARGET: expected what to judge (or --installed); see steelyard check --help"),
        (["check", "losses.py", "--known", "none.toml"], 2,
         "none.toml: No such file or directory; expected a file that `steelyard check TARGET --write-known FILE`"),
        (["check", "losses.py", "--known", "broken.toml"], 2,
         "expected [[known]] tables with technique, requirement and reason"),
        (["replay", "none.json"], 2, "expected a file that `steelyard check` writes of a failure"),
        (["report", "none.json", "--html", "page.html"], 3, "expected a file that `steelyard check TARGET --json"),
        (["census", "none.json"], 3, "none.json: No such file or directory; expected annotations in COCO's format"),
        (["vectors", "verify", "none", "answers.json"], 2, "`steelyard vectors write` makes such a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line_that_says_what_to_do(steelyard, arguments, status, message):
    """The line names what was given and the next step."""
    said = steelyard(*arguments)

    assert said.exit_code == status
    assert message in said.stderr
    assert said.stderr.startswith("steelyard: ")
    assert said.stderr.count("\n") == 1


def test_a_wrong_shape_says_where_the_right_one_stands(steelyard):
    """Of an answer of another shape: both shapes, and the page that has them."""
    said = steelyard("smoke", "losses.py:focal", "--as", "sigmoid_focal_loss")

    assert said.exit_code == 1
    assert "loss: returned shape (2, 7, 7), expected (2,); `steelyard show sigmoid_focal_loss` says" in said.output


def test_known_failures_that_are_no_text(steelyard, tmp_path):
    """A file of another kind is refused in one line too."""
    (tmp_path / "known.toml").write_bytes(b"\xff\xfe\x00")

    said = steelyard("check", "losses.py", "--known", "known.toml")

    assert said.exit_code == 2
    assert said.stderr.startswith("steelyard: known.toml: not UTF-8")


# --- without PyTorch ------------------------------------------------------------------------------------------------

INSTALL = "pip install 'steelyard[torch]'"


@pytest.mark.parametrize("target", ["steelyard.impl", "torchvision", "mine.py"])
def test_missing_pytorch_says_how_to_get_it(without_torch, tmp_path, target):
    """One line, for our own implementation, a library's adapter and a file of one's own."""
    (tmp_path / "mine.py").write_text("import torch\n")

    done = without_torch("-m", "steelyard.conformance", "check", target)

    assert done.returncode == 3
    assert done.stderr == f"steelyard: {target}: PyTorch is not installed; {INSTALL}\n"


def test_importing_the_implementation_says_it_too(without_torch):
    """In a script of one's own it is an exception, with the same words."""
    done = without_torch("-c", "import steelyard.impl")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"steelyard.impl needs PyTorch, which is not installed; {INSTALL}")


def test_all_that_needs_no_pytorch_works_without(without_torch):
    """First steps, list, show, and the reference."""
    for arguments in ([], ["--version"], ["list"], ["show", "ghm_classification_loss"], ["adapters"]):
        done = without_torch("-m", "steelyard.conformance", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments

    done = without_torch("-c", "import steelyard.reference as r; print(r.sigmoid_focal_loss([0.0], [1]).round(6))")
    assert done.stdout == "[0.043322]\n"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "ModuleNotFoundError('No module named fvcore', name='fvcore')",
            "fvcore: needs the library fvcore, which is not installed; pip install fvcore",
        ),
        (
            "ModuleNotFoundError('No module named cv2', name='cv2')",
            "fvcore: needs the library cv2, which is not installed; pip install opencv-python-headless",
        ),
        (
            "RuntimeError('operator fvcore::nms does not exist')",
            "fvcore::nms does not exist; does `python -c 'import fvcore'` work here, and is this release of it made",
        ),
    ],
    ids=["absent", "its own need", "does not load"],
)
def test_a_library_that_does_not_load_is_named(tmp_path, raised, said):
    """A bundled adapter without its library, or with one that is broken: what to install, what to try."""
    blocked = tmp_path / "fvcore.py"
    blocked.write_text(f"raise {raised}\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])

    done = subprocess.run(
        [sys.executable, "-m", "steelyard.conformance", "check", "fvcore"], text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": path}, check=False, timeout=600, cwd=Path(tmp_path),
    )  # fmt: skip

    assert done.returncode == 3
    assert said in done.stderr
