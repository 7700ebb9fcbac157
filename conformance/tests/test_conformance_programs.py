"""Programs in other languages: ours conform, and whatever a program does has one cause and the right status."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from steelyard.conformance import check, programs
from steelyard.conformance.candidates import CandidateError, CandidateLost, LoadError, NoGradientError
from steelyard.conformance.cases import read_case
from steelyard.conformance.command_line import app
from steelyard.conformance.contract import Case
from steelyard.conformance.isolation import Limits
from steelyard.conformance.loading import Target
from steelyard.conformance.programs import HELLO, Program
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.results import Status, Verdict
from steelyard.conformance.schemas import violation

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CASE = Case(
    {"logits": np.array([1.5, -2.0, np.inf]), "targets": np.array([1, 0, 1])},
    {"alpha": 0.25, "gamma": 2.0},
    "float32",
    np.array([1.0, -0.5, 2.0]),
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The C example, right and with a wrong sign."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("c")

    def build(name, *flags):
        source = EXAMPLES / "c" / "focal_loss.c"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", folder / name, source, "-lm"]
        subprocess.run(command, check=True)
        return f"exec:{folder / name}"

    return {"right": build("right"), "wrong": build("wrong", "-DWRONG_SIGN")}


@pytest.fixture
def program(tmp_path):
    """A program in Python, from the body of a loop over `line`; `say` writes an answer."""

    def write(body, hello="say(HELLO)", before=""):
        hello_message = {
            "type": "hello", "protocol": "steelyard-protocol-1", "name": "mine", "dtypes": ["float64"],
            "functions": {"sigmoid_focal_loss": {"gradients": ["logits"]}, "focal_loss_star": {}},
        }  # fmt: skip
        source = f"""
import json, os, sys, time
HELLO = {hello_message!r}
ONE = {{"kind": "float", "shape": [3], "data": [1, 2, 3]}}
def say(message):
    print(json.dumps(message) if isinstance(message, dict) else message, flush=True)
{before}
for line in sys.stdin:
    call = json.loads(line)
    if call["type"] == "hello":
{textwrap.indent(hello, " " * 8)}
        continue
{textwrap.indent(body, " " * 4)}
"""
        (tmp_path / "program.py").write_text(source, encoding="utf-8")
        return f"exec:{sys.executable} {tmp_path / 'program.py'}"

    return write


def loaded(text, **limits):
    return Program(Target(text), limits=Limits(**limits))


def test_the_c_example_conforms(compiled, tmp_path):
    """Values and gradients, from 0 to the ends of both formats."""
    result = check(compiled["right"], profile="quick", cases=tmp_path)

    (judged,) = result.techniques
    assert (judged.id, judged.verdict) == ("sigmoid_focal_loss", Verdict.CONFORMS)
    assert {r.status for r in judged.requirements} <= {Status.PASS, Status.SKIP, Status.WARN}
    assert result.exit_status == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_javascript_example_conforms(tmp_path):
    """The same in another language, with floats as JSON numbers."""
    result = check(f"exec:node {EXAMPLES / 'javascript' / 'focal_loss.js'}", profile="quick", cases=tmp_path)

    assert result.exit_status == 0
    assert [judged.verdict for judged in result.techniques] == [Verdict.CONFORMS]


def test_a_wrong_program_is_found_explained_and_replayed(compiled, tmp_path):
    """The gradient's sign; its script runs the program without the suite; replay shows the failure again."""
    result = check(compiled["wrong"], profile="quick", cases=tmp_path, requirements=["FL-1", "FL-2"])

    found = {r.id: r for r in result.techniques[0].requirements}
    assert (found["FL-1"].status, found["FL-2"].status) == (Status.PASS, Status.FAIL)
    failing = read_case(Path(found["FL-2"].case))
    assert failing.case.arguments["logits"].size == 1
    script = Path(found["FL-2"].case).with_suffix(".py")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert '"gradients"' in said
    assert "expected" in said
    replayed = CliRunner().invoke(app, ["replay", found["FL-2"].case])
    assert (replayed.exit_code, "outside the bound" in replayed.output) == (1, True)
    assert CliRunner().invoke(app, ["replay", found["FL-2"].case, compiled["right"]]).exit_code == 0


def test_both_directions_fit_the_schema(program):
    """What the suite really sends, and what a program really answers."""
    copy = 'open("traffic", "a").write(line)'
    text = program(
        copy + '\nsay({"type": "answer", "id": call["id"], "outputs": [ONE], "gradients": {"logits": ONE}})',
        hello=copy + "\nsay(HELLO)",
    )
    candidate = loaded(f"exec:env -C {Path(text.split()[-1]).parent} {text.removeprefix('exec:')}")
    answer = candidate.evaluate("sigmoid_focal_loss", CASE, ("logits",))
    candidate.evaluate("sigmoid_focal_loss", CASE)
    candidate.close()

    sent = [json.loads(line) for line in (Path(text.split()[-1]).parent / "traffic").read_text().splitlines()]
    assert [message["type"] for message in sent] == ["hello", "call", "call"]
    assert sent[0] == HELLO
    for message in sent:
        assert violation(message, "protocol") == ""
    assert sent[1]["arguments"]["logits"]["data"] == ["0x1.8p+0", "-0x1p+1", "inf"]
    assert sent[1]["options"] == {"alpha": {"float": "0x1p-2"}, "gamma": {"float": "0x1p+1"}}
    assert [m["gradient_of"] for m in sent[1:]] == [["logits"], []]
    assert answer.outputs[0].tolist() == answer.gradients["logits"].tolist() == [1, 2, 3]


def test_one_of_several_functions_can_be_chosen(program):
    """`--as` names it; one that is not offered is refused."""
    text = program("pass")
    chosen = Program(Target(text, technique="focal_loss_star"))
    assert set(chosen.description.functions) == {"focal_loss_star"}
    chosen.close()

    with pytest.raises(LoadError, match="--as: expected some of sigmoid_focal_loss, focal_loss_star"):
        Program(Target(text, technique="softmax_focal_loss"))


def test_a_gradient_that_is_not_offered_is_not_asked_for(program):
    """`NoGradientError`, as for a Python function without one."""
    candidate = loaded(program('say({"type": "answer", "id": call["id"], "outputs": [ONE]})'))

    with pytest.raises(NoGradientError, match="logits"):
        candidate.evaluate("focal_loss_star", CASE, ("logits",))
    candidate.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('say({"type": "answer", "id": call["id"], "error": "gamma: too odd"})', "refused: gamma: too odd"),
        ('say("hello, world")', "a line that is not JSON: hello, world"),
        ('say("[1, 2]")', "a line that is not a JSON object"),
        ('say({"type": "answer", "id": 7, "outputs": [ONE]})', "answered call 7, expected an answer to call 1"),
        ('say({"type": "answer", "id": call["id"]})', "does not know"),
        ('say({"type": "answer", "id": call["id"], "outputs": []})', "does not know"),
        ('say({"type": "answer", "id": call["id"], "outputs": [{**ONE, "shape": [2]}]})', "expected 2 elements"),
        ('say({"type": "answer", "id": call["id"], "outputs": [{**ONE, "data": [1, "x", 3]}]})', r"data\[1\]"),
        (
            'say({"type": "answer", "id": call["id"], "outputs": [{**ONE, "shape": [0, 10**30], "data": []}]})',
            "an array that cannot be read: shape",
        ),
        (
            'say({"type": "answer", "id": call["id"], "outputs": [{**ONE, "shape": [0] * 65, "data": []}]})',
            "an array that cannot be read: shape",
        ),
        ('print("[" * 100_000, flush=True)', "a line that is not JSON"),
        ('say({"type": "answer", "id": call["id"], "outputs": [ONE]})', "lacks the gradient with respect to logits"),
    ],
)
def test_an_answer_that_is_none_is_an_error_of_that_call(program, body, message):
    """One line; the next call is answered by a program in step."""
    candidate = loaded(program(body))

    for _ in range(2):
        with pytest.raises(CandidateError, match=message.replace("call 1", "call [12]")):
            candidate.evaluate("sigmoid_focal_loss", CASE, ("logits",))
    candidate.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("time.sleep(60)", "did not answer within 0.5 s"),
        ("os._exit(7)", "exited with status 7"),
        ('sys.exit("out of ideas")', "exited with status 1: out of ideas"),
        ("os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("os.kill(os.getpid(), 40)", "was ended by (signal 40|SIGRT.*)"),
        ('sys.exit("out\tof ideas")', "exited with status 1: out.of ideas"),
        ("os.close(1); time.sleep(60)", "did not answer|closed its standard output"),
        ('os.write(2, b"x" * 2**21); time.sleep(60)', "wrote more than 1 MiB to its standard error"),
    ],
)
def test_a_program_that_is_lost_does_not_end_the_run(program, body, message):
    """`CandidateLost` with the cause; the next call starts it afresh and meets the same."""
    candidate = loaded(program(body), call_seconds=0.5, output_bytes=2**20)

    for _ in range(2):
        with pytest.raises(CandidateLost, match=message):
            candidate.evaluate("sigmoid_focal_loss", CASE)
    candidate.close()


@pytest.mark.parametrize(
    ("hello", "before", "message"),
    [
        ("pass", "sys.exit(3)", "while saying hello, the program exited with status 3"),
        ("pass", "", "while saying hello, the program did not answer within 0.5 s"),
        ('say("hi")', "", "while saying hello, the program answered a line that is not JSON: hi"),
        ('say({**HELLO, "protocol": "steelyard-protocol-9"})', "", "its hello is not as docs/protocol.md says"),
        ('say({**HELLO, "dtypes": ["float8"]})', "", "its hello is not as"),
        ('say({"type": "answer", "id": 1, "outputs": [ONE]})', "", "expected hello"),
        (
            'say({**HELLO, "functions": {"sigmoid_focal_loss": {"options": ["beta"]}}})',
            "",
            "options: expected some of alpha, gamma, got 'beta'",
        ),
        (
            'say({**HELLO, "functions": {"sigmoid_focal_loss": {"gradients": ["targets"]}}})',
            "",
            "gradients: expected some of logits, got 'targets'",
        ),
        ('say({**HELLO, "dialects": {"sigmoid_focal_loss": "mine"}})', "", "dialects: sigmoid_focal_loss: expected"),
        ('say({**HELLO, "functions": {"sigmoid_focal_los": {}}})', "", "did you mean sigmoid_focal_loss"),
    ],
)
def test_a_program_that_does_not_say_hello_cannot_be_loaded(program, hello, before, message):
    """One line with the cause."""
    with pytest.raises(LoadError, match=message):
        loaded(program("pass", hello=hello, before=before), load_seconds=0.5 if message.endswith("0.5 s") else 20)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("exec:no-such-program-here"), "no-such-program-here: No such file or directory"),
        (Target("exec:"), "expected a command after exec:"),
        (Target('exec:a "b'), "not a command"),
        (Target("exec:true", names={"logits": "x"}), "--map and --set are for Python functions"),
    ],
)
def test_a_command_that_is_none(target, message):
    """Before anything is started."""
    with pytest.raises(LoadError, match=message):
        Program(target)


def test_statuses_of_the_command_line(program, tmp_path):
    """3 where the program cannot be loaded, 1 where it is lost in every call; no traceback."""
    absent = CliRunner().invoke(app, ["check", "exec:no-such-program-here"])
    assert absent.exit_code == 3
    lost = CliRunner().invoke(
        app, ["check", program("os._exit(9)"), "-r", "FL-1", "--profile", "quick", "--cases", str(tmp_path / "cases")]
    )
    assert lost.exit_code == 1
    assert "exited with status 9" in lost.output
    assert "Traceback" not in absent.output + lost.output


def test_smoke_calls_each_function_once(compiled):
    """Before the mathematics is judged."""
    said = CliRunner().invoke(app, ["smoke", compiled["right"]])

    assert said.exit_code == 0
    assert "focal_loss.c 1 (JSON lines arrays)" in said.output
    assert "sigmoid_focal_loss: answers" in said.output


def test_a_flood_of_standard_output_is_lost(program, monkeypatch):
    """A line without end: the cause is named before the time is up."""
    monkeypatch.setattr(programs, "_LONGEST_LINE", 2**20)
    candidate = loaded(program('os.write(1, b"x" * 2**22); time.sleep(60)'))

    with pytest.raises(CandidateLost, match="answered a line of more than 1 MiB"):
        candidate.evaluate("sigmoid_focal_loss", CASE)
    candidate.close()


def test_the_pytest_door_takes_programs(compiled, pytester):
    """One test a requirement, as for a function."""
    pytester.makepyfile(
        "from steelyard.conformance import conformance_tests\n"
        f'test_mine = conformance_tests({compiled["right"]!r}, technique="sigmoid_focal_loss", profile="quick")\n'
    )
    done = pytester.runpytest_subprocess("-q", "-k", "FL-3 or FL-10", "-p", "no:cacheprovider")

    others = len(TECHNIQUES["sigmoid_focal_loss"].requirements) - 2
    done.assert_outcomes(passed=2, deselected=others)


def test_large_cases_pass_through_the_pipes(program):
    """Megabytes in both directions: neither side waits for the other."""
    echo = 'say({"type": "answer", "id": call["id"], "outputs": [call["arguments"]["logits"]]})'
    candidate = loaded(program(echo))
    logits = np.linspace(-1, 1, 200_000)
    big = Case({"logits": logits, "targets": np.zeros(200_000, np.int64)}, CASE.options, "float64")

    np.testing.assert_array_equal(candidate.evaluate("sigmoid_focal_loss", big).outputs[0], logits)
    candidate.close()
