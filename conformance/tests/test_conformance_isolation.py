"""Whatever a candidate does, the run goes on, says in one line what happened, and ends with the right status."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steelyard.conformance import check
from steelyard.conformance.command_line import app
from steelyard.conformance.isolation import IsolatedCandidate, Limits
from steelyard.conformance.loading import Target

HEAD = "def sigmoid_focal_loss(logits, targets, *, alpha=0.25, gamma=2.0):\n"
RIGHT = """
import numpy as np
def right(logits, targets, *, alpha=0.25, gamma=2.0):
    t = np.where(targets == 1, logits, -logits).astype(np.float64)
    balance = 1.0 if alpha is None else np.where(targets == 1, alpha, 1.0 - alpha)
    return balance * np.exp(-gamma * np.logaddexp(0.0, t)) * np.logaddexp(0.0, -t)
"""
CALL = "return right(logits, targets, alpha=alpha, gamma=gamma)"
SOME = ("FL-1", "FL-4", "FL-14")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@dataclass(frozen=True)
class Broken:
    """A file of a candidate, and what is said of it."""

    name: str
    source: str
    says: str
    options: tuple[str, ...] = ()
    times: int = len(SOME)
    """Requirements that get this cause."""


def body(*lines, before=""):
    return before + HEAD + "".join(f"    {line}\n" for line in lines)


NOT_LOADED = [
    Broken("syntax_error", HEAD[:-3], "syntax error in broken.py line 1"),
    Broken("missing_function", "def focal(x): return x\n", "none of the specification's functions"),
    Broken("not_callable", "sigmoid_focal_loss = 3\n", "none of the specification's functions"),
    Broken("missing_module", "import not_there\n", "needs the module not_there, which is not installed"),
    Broken("raises_at_import", "1 / 0\n", "raised ZeroDivisionError while loading: division by zero"),
    Broken("exits_at_import", "import sys; sys.exit(3)\n", "exits the interpreter while loading (status 3)"),
    Broken("ends_at_import", "import os; os._exit(0)\n", "while loading, the candidate exited with status 0"),
    Broken("crashes_at_import", "import ctypes; ctypes.string_at(0)\n", "the candidate was ended by SIGSEGV"),
    Broken("unknown_arrays", 'ARRAYS = "numppy"\n' + body("return 0"), "ARRAYS: the array library numppy is not"),
    Broken("odd_dtypes", 'DTYPES = ["float8"]\n' + body("return 0"), "DTYPES: expected some of float32, float64"),
    Broken("odd_dialects", "DIALECTS = 3\n" + body("return 0"), "DIALECTS: expected a dict of technique: dialect"),
    Broken("odd_dialect", 'DIALECTS = {"sigmoid_focal_loss": "x"}\n' + body("return 0"), "expected one of none"),
]
BROKEN = [
    Broken("wrong_signature", "def sigmoid_focal_loss(logits): return logits\n", "cannot be called as the specif"),
    Broken("wrong_shape", body("return logits[..., :0]"), "loss: returned shape", times=2),
    Broken("reduced", RIGHT + body("return right(logits, targets, alpha=alpha, gamma=gamma).sum()"),
           "loss: returned shape (), expected"),
    Broken("sleeps", body('print("working")', "time.sleep(1e6)", before="import time\n"),
           "the candidate did not answer within 0.5 s", ("--time-limit", "0.5"), times=2),
    Broken("exits", body("sys.exit(3)", before="import sys\n"), "raised SystemExit: 3 (broken.py line 3)"),
    Broken("ends_the_process", body("os._exit(0)", before="import os\n"), "candidate exited with status 0", times=2),
    Broken("crashes", body("ctypes.string_at(0)", before="import ctypes\n"), "candidate was ended by SIGSEGV", times=2),
    Broken("kills_itself", body("os.kill(os.getpid(), 9)", before="import os\n"), "was ended by SIGKILL", times=2),
    Broken("hangs_up", body("os.closerange(3, 256)", before="import os\n"), "the candidate ", times=2),
    Broken("eats_memory", body("kept = []", "while True: kept.append(np.ones(2**22))", before="import numpy as np\n"),
           "raised MemoryError", ("--memory-limit", "1")),
    Broken("floods_its_output", body('while True: print("x" * 100000)'), "candidate printed more than 16 MiB", times=2),
    Broken("patches_numpy", RIGHT + body("np.exp = np.expm1", CALL), "the candidate replaced numpy.exp"),
    Broken("patches_numpy_at_import", "import numpy as np\nnp.exp = lambda x: np.e ** x\n" + RIGHT + body(
        CALL), "the candidate replaced numpy.exp", times=1),
    Broken("reseeds", RIGHT + body("np.random.seed(0)", CALL),
           "the candidate moved or reseeded the global random state"),
    Broken("raises", body('raise RuntimeError("no\\nway [bold]")'), "raised RuntimeError: no (broken.py line 2)"),
    Broken("raises_unreadably", "class E(Exception):\n    def __str__(self): return 1\n" + body("raise E"),
           "raised E: (its message cannot be read)"),
    Broken("interrupts_itself", body("raise KeyboardInterrupt"), "raised KeyboardInterrupt"),
    # by positional arguments: with keywords Python 3.13.0 recurses until memory ends
    Broken("recurses", "def deeper(x): return deeper(x)\n" + body("return deeper(logits)"), "raised RecursionError"),
    Broken("returns_none", body("return None"), "raised TypeError: returned NoneType (object), which is not an array"),
    Broken("returns_text", body('return "loss"'), "raised TypeError: returned str"),
    Broken("returns_complex", body("return logits * 1j"), "), which is not an array of real numbers"),
    Broken("returns_two", body("return logits, targets"), "returned 2 outputs, expected 1 (loss)"),
    Broken("returns_ragged_lists", body("return [[1], [1, 2]]"), "raised ValueError"),
    Broken("returns_nan", body("return logits * float('nan')"), "elements outside the bound", times=2),
]  # fmt: skip


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments))


def part(ids=SOME):
    return ["-t", "sigmoid_focal_loss", "--profile", "quick", *(word for i in ids for word in ("-r", i))]


@pytest.mark.parametrize("broken", NOT_LOADED, ids=lambda broken: broken.name)
def test_what_cannot_be_loaded_is_one_line_and_status_3(steelyard, tmp_path, broken):
    """One line on standard error that names the file and the cause; nothing else."""
    (tmp_path / "broken.py").write_text(broken.source)

    said = steelyard("check", "broken.py")

    assert said.exit_code == 3
    assert said.stdout == ""
    (line,) = said.stderr.splitlines()
    assert line.startswith("steelyard: broken.py: ")
    assert broken.says in line


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_what_misbehaves_gets_one_clear_cause_and_status_1(steelyard, tmp_path, broken):
    """The cause stands on the line of each requirement that it hits; the others are judged; no traceback of ours."""
    (tmp_path / "broken.py").write_text(broken.source)

    said = steelyard("check", "broken.py", *part(), *broken.options)

    lines = [line for line in said.output.splitlines() if line.startswith("  FL-")]
    assert said.exit_code == 1
    assert [line.split()[0] for line in lines] == list(SOME)
    assert sum(broken.says in line for line in lines) >= broken.times, said.output
    assert "Traceback" not in said.output


def test_a_crash_on_one_input_costs_one_requirement(steelyard, tmp_path):
    """A candidate that dies on empty input only is judged on everything else, and the deadly input is kept."""
    (tmp_path / "broken.py").write_text(
        RIGHT + "import os\n" + body(
            "if logits.size == 0: os.abort()", CALL
        )
    )  # fmt: skip

    said = steelyard("check", "broken.py", *part(("FL-1", "FL-14", "FL-4", "FL-3")), "--json", "found.json")

    (judged,) = json.loads((tmp_path / "found.json").read_text())["techniques"]
    found = {requirement["id"]: requirement for requirement in judged["requirements"]}
    assert said.exit_code == 1
    assert {name: requirement["status"] for name, requirement in found.items()} == {
        "FL-1": "pass", "FL-3": "pass", "FL-4": "pass", "FL-14": "error",
    }  # fmt: skip
    assert found["FL-14"]["message"] == "the candidate was ended by SIGABRT"
    replayed = steelyard("replay", found["FL-14"]["case"])
    assert replayed.exit_code == 1
    assert "was ended by SIGABRT" in replayed.output


def test_a_lost_candidate_is_not_tried_for_ever(steelyard, tmp_path):
    """After it was lost twice, the rest is not run, and each line says why."""
    (tmp_path / "broken.py").write_text(body("os._exit(7)", before="import os\n"))

    said = steelyard("check", "broken.py", *part(("FL-1", "FL-3", "FL-4", "FL-5")))

    assert said.output.count("the candidate exited with status 7") == 4  # twice on a line, twice in a report
    assert said.output.count("not run: the candidate was lost 2 times before; it exited with status 7") == 4


def test_a_declared_lack_of_gradients_is_skipped_and_a_missing_graph_fails(steelyard, tmp_path):
    """Without autograd graph a PyTorch loss cannot train: that fails, unless the adapter says so itself."""
    pytest.importorskip("torch")
    source = "import torch\n" + RIGHT.replace("right", "_right") + body(
        "return torch.from_numpy(_right(logits.detach().double().numpy(), targets.numpy(), alpha=alpha, gamma=gamma))"
    )  # fmt: skip
    (tmp_path / "detached.py").write_text(source)
    (tmp_path / "declared.py").write_text("GRADIENTS = False\n" + source)

    detached = steelyard("check", "detached.py", *part(("FL-1", "FL-2")))
    declared = steelyard("check", "declared.py", *part(("FL-1", "FL-2")))

    assert detached.exit_code == 1
    assert "it has no autograd graph" in detached.output
    assert declared.exit_code == 0
    assert "1 pass, 1 skip" in declared.output


def test_hang_while_loading_is_a_load_error(tmp_path):
    """Loading has a limit of its own."""
    (tmp_path / "slow.py").write_text("import time; time.sleep(1e6)\n")

    with pytest.raises(Exception, match=r"slow\.py: while loading, the candidate did not answer within 0\.5 s"):
        IsolatedCandidate(Target(str(tmp_path / "slow.py")), limits=Limits(load_seconds=0.5))


@linux
def test_no_process_is_left_behind(tmp_path):
    """Whatever a candidate started in its own group ends with it."""
    (tmp_path / "parent.py").write_text(
        RIGHT + "import pathlib, subprocess, sys\n" + body(
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1e6)'])",
            f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))",
            "raise SystemExit",
        )
    )  # fmt: skip

    check(str(tmp_path / "parent.py"), profile="quick", requirements=["FL-14"])

    assert _ends_soon(int((tmp_path / "pid").read_text()))


# --- interruption and resumption ------------------------------------------------------------------------------------

STOPPING = RIGHT + """
import os, pathlib, time
def sigmoid_focal_loss(logits, targets, *, alpha=0.25, gamma=2.0):
    if logits.size == 0 and not pathlib.Path("go_on").exists():
        pathlib.Path("pid").write_text(str(os.getpid()))
        os.replace("pid", "waiting")
        time.sleep(1e6)
    return right(logits, targets, alpha=alpha, gamma=gamma)
def sigmoid_focal_loss_with_labels(logits, labels, *, alpha=0.25, gamma=2.0):
    pathlib.Path("asked").open("a").write("x")
    y = labels[..., None] == np.arange(logits.shape[-1])
    return np.where((labels == -1)[..., None], 0.0, right(np.where((labels == -1)[..., None], 0, logits), y,
                    alpha=alpha, gamma=gamma))
"""  # fmt: skip
ORDER = ["-t", "sigmoid_focal_loss_with_labels", "-t", "sigmoid_focal_loss"]
COMMAND = [sys.executable, "-m", "steelyard.conformance", "check", "stopping.py", *ORDER]
QUICK = ["--profile", "quick", "--json", "found.json", "--time-limit", "60"]


@pytest.fixture
def stopped(tmp_path):
    """Starts a run that comes to a stop in FL-14, and sends it a signal there."""

    def stop(number):
        (tmp_path / "stopping.py").write_text(STOPPING)
        process = subprocess.Popen(
            [*COMMAND, *QUICK], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.monotonic() + 120
        while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        started = time.monotonic()
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output, time.monotonic() - started, json.loads((tmp_path / "found.json").read_text())

    return stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_interruption_ends_at_once_with_a_partial_report(stopped, number):
    """Although the candidate hangs: a report of what was found, its JSON, status 130, no traceback."""
    status, output, seconds, found = stopped(number)

    assert status == 130
    assert seconds < 5
    assert "INTERRUPTED, partial" in output
    assert "Traceback" not in output
    assert found["complete"] is False
    first, second = found["techniques"]
    assert (first["complete"], second["complete"]) == (True, False)
    assert [requirement["id"] for requirement in second["requirements"]] == [f"FL-{n}" for n in range(1, 14)]


def test_kill_loses_nothing_and_resume_goes_on(stopped, tmp_path):
    """Results are in the file as they come; --resume judges what is not complete, and nothing else again."""
    status, _, _, found = stopped(signal.SIGKILL)
    asked = (tmp_path / "asked").read_text()
    (tmp_path / "go_on").touch()

    resumed = subprocess.run([*COMMAND, *QUICK, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=False)

    after = json.loads((tmp_path / "found.json").read_text())
    assert status == -signal.SIGKILL
    assert found["complete"] is False
    assert found["techniques"][0]["verdict"] == "conforms"
    assert found["techniques"][1]["requirements"][0]["status"] == "pass"
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert after["complete"] is True
    assert [technique["verdict"] for technique in after["techniques"]] == ["conforms", "conforms"]
    assert after["techniques"][0] == found["techniques"][0]
    assert (tmp_path / "asked").read_text() == asked


@linux
def test_killed_suite_takes_the_candidate_along(stopped, tmp_path):
    """A candidate that hangs does not outlive a suite that was killed."""
    stopped(signal.SIGKILL)

    assert _ends_soon(int((tmp_path / "waiting").read_text()))


@pytest.fixture
def finished(steelyard, tmp_path):
    """A complete run of one technique."""
    (tmp_path / "mine.py").write_text(RIGHT.replace("def right", "def sigmoid_focal_loss"))
    assert steelyard("check", "mine.py", *part(), "--json", "found.json").exit_code == 0
    return ["check", "mine.py", *part(), "--json", "found.json", "--resume"]


def test_resuming_a_complete_run_judges_nothing(steelyard, finished):
    """The report again, at once."""
    said = steelyard(*finished)

    assert said.exit_code == 0
    assert "3 pass" in said.output
    assert "  FL-1 " not in said.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], "the interrupted run had seed 0, this one has 1"),
        (["--profile", "default"], "had profile 'quick', this one has 'default'"),
        (["--dtype", "float64"], "had settings"),
    ],
)
def test_another_run_is_not_resumed(steelyard, finished, options, message):
    """Results of other inputs are not mixed."""
    said = steelyard(*finished, *options)

    assert said.exit_code == 2
    assert message in said.stderr


def test_a_changed_candidate_is_not_resumed(steelyard, finished, tmp_path):
    """What was judged before the change says nothing about the code after it."""
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "# changed\n")

    said = steelyard(*finished)

    assert said.exit_code == 2
    assert "had settings" in said.stderr


def test_a_program_is_told_from_its_changed_self(tmp_path):
    """The digest of `exec:` is that of the files in the command; an interpreter on the path is none of them."""
    program, table = tmp_path / "a program.py", tmp_path / "table"
    program.write_text("1", encoding="utf-8")
    table.write_text("2", encoding="utf-8")
    target = Target(f"exec:python3 '{program}' --table {table} --fast")

    before = target.digest()
    table.write_text("3", encoding="utf-8")

    assert before not in (None, target.digest())
    assert Target(f"exec:python3 '{program}'").digest() == Target(str(program)).digest()
    assert Target("exec:python3 --version").digest() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "steelyard-result-1"}'])
def test_what_is_no_result_is_not_resumed(steelyard, finished, tmp_path, content):
    """One line that names the file."""
    (tmp_path / "found.json").write_text(content)

    said = steelyard(*finished)

    assert said.exit_code == 2
    assert said.stderr.startswith("steelyard: found.json: cannot be resumed")


def test_resume_without_a_file_starts_anew(steelyard, finished, tmp_path):
    """So that a script may always say --resume."""
    (tmp_path / "found.json").unlink()

    assert steelyard(*finished).exit_code == 0
    assert steelyard(*finished[:-3], "--resume").exit_code == 2  # but not without --json


def _runs(number):
    """Whether a process runs, a dead one that nobody has asked for apart."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def _ends_soon(number):
    deadline = time.monotonic() + 10
    while _runs(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _runs(number)
