"""The command line: what each command prints, where it writes, and with which status it ends."""

import json
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from steelyard.conformance.command_line import app
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.version import __version__

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)
RIGHT = "import math\ndef prior_probability_bias(prior):\n    return math.log(prior) - math.log1p(-prior)\n"
WRONG = "import math\ndef prior_probability_bias(prior):\n    return math.log(prior)\n"
REQUIREMENTS = [requirement.id for requirement in TECHNIQUES["prior_probability_bias"].requirements]


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """A user's folder with a right and a wrong file, and the command in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, list(arguments), catch_exceptions=False)


# --- finding one's way --------------------------------------------------------------------------------------------


def test_without_arguments_it_says_where_to_start(steelyard):
    """The first commands, not an error."""
    said = steelyard()

    assert said.exit_code == 0
    assert "steelyard list" in said.output
    assert "steelyard check" in said.output


def test_version(steelyard):
    """The version alone."""
    assert steelyard("--version").output == f"steelyard {__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(steelyard, flag):
    """With a line for each."""
    said = steelyard(flag)

    assert said.exit_code == 0
    assert [command for command in COMMANDS if command.rstrip("_") not in said.output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(steelyard, command):
    """A sentence and its options."""
    said = steelyard(command, "--help")

    assert said.exit_code == 0
    assert "Usage:" in said.output
    assert "--help" in said.output


def test_an_unknown_command_is_refused(steelyard):
    """With the nearest one."""
    said = steelyard("chek", "right.py")

    assert said.exit_code == 2
    assert "check" in said.output


# --- list and show ------------------------------------------------------------------------------------------------


def test_list_names_every_technique(steelyard):
    """Id and title, under its family."""
    said = steelyard("list")

    assert said.exit_code == 0
    for contract in TECHNIQUES.values():
        assert contract.id in said.output
        assert contract.family in said.output


def test_list_as_json(steelyard, tmp_path):
    """The same on standard output and in a file: requirements, mutants, sources."""
    printed = json.loads(steelyard("list", "--json", "-").stdout)
    steelyard("list", "--json", "list.json")

    assert json.loads((tmp_path / "list.json").read_text()) == printed
    assert [entry["id"] for entry in printed] == list(TECHNIQUES)
    for entry in printed:
        contract = TECHNIQUES[entry["id"]]
        assert [r["id"] for r in entry["requirements"]] == [r.id for r in contract.requirements]
        assert {r["level"] for r in entry["requirements"]} <= {"MUST", "SHOULD", "MAY"}
        assert entry["mutants"] == [mutant.id for mutant in contract.mutants]
        assert entry["sources"]


@pytest.mark.parametrize("technique_id", TECHNIQUES)
def test_show_renders_every_technique(steelyard, technique_id):
    """Title, sources, every requirement, ruling, dialect and mutant; with --source the reference's code."""
    contract = TECHNIQUES[technique_id]
    page = steelyard("show", technique_id, "--source")
    words = " ".join(page.output.split())

    assert page.exit_code == 0
    assert contract.title in words
    assert f"def {contract.oracle.__name__}(" in words
    for one in (*contract.requirements, *contract.rulings, *contract.dialects, *contract.mutants):
        assert one.id in page.output


def test_an_unknown_technique_is_refused_with_the_nearest(steelyard):
    """Status 2 and one line."""
    said = steelyard("show", "sigmoid_focal_los")

    assert said.exit_code == 2
    assert said.stderr.count("\n") == 1
    assert "did you mean sigmoid_focal_loss?" in said.stderr


# --- check: verdict and status ------------------------------------------------------------------------------------


def test_check_of_a_right_file(steelyard):
    """Every requirement on a line, the verdict, status 0."""
    said = steelyard("check", "right.py", "--profile", "quick")

    assert said.exit_code == 0
    assert "conforms" in said.output
    assert f"every MUST holds: {len(REQUIREMENTS)} pass" in said.output
    assert [id_ for id_ in REQUIREMENTS if id_ not in said.output] == []


def test_check_of_a_wrong_file(steelyard, tmp_path):
    """The report with the replay line, the case file, status 1."""
    said = steelyard("check", "wrong.py", "--profile", "quick", "--cases", "found")
    case = next((tmp_path / "found").glob("*BIAS-1-*.json"))

    assert said.exit_code == 1
    assert "BIAS-1 MUST fail" in said.output
    assert "a MUST does not hold" in said.output
    assert f"replay: steelyard replay found/{case.name}" in said.output


def test_the_replay_line_works(steelyard):
    """It fails again on the wrong file with status 1, and holds on the right one with status 0."""
    said = steelyard("check", "wrong.py", "--profile", "quick", "-r", "BIAS-1")
    line = next(line for line in said.output.splitlines() if "replay:" in line)
    _, _, command = line.partition("replay: steelyard ")

    again = steelyard(*command.split())
    mended = steelyard("replay", command.split()[1], "right.py")

    assert again.exit_code == 1
    assert "outside the bound" in again.output
    assert mended.exit_code == 0
    assert "holds on this input" in mended.output


def test_known_failures_from_writing_to_mending(steelyard, tmp_path):
    """Written with status 1, read with status 0, mended with status 1."""
    written = steelyard("check", "wrong.py", "--profile", "quick", "--write-known", "known.toml")
    read = steelyard("check", "wrong.py", "--profile", "quick", "--known", "known.toml")
    mended = steelyard("check", "right.py", "--profile", "quick", "--known", "known.toml")

    assert (written.exit_code, read.exit_code, mended.exit_code) == (1, 0, 1)
    assert "known.toml" in written.stderr
    assert "every MUST holds, known failures aside" in read.output
    assert "a known failure is mended" in mended.output


def test_as_map_and_set_are_handed_on(steelyard, tmp_path):
    """A function of other names with a keyword of its own."""
    (tmp_path / "other.py").write_text(
        "import math\n"
        "def bias(start, *, scale, name):\n"
        "    assert name == 'head'\n"
        "    return scale * (math.log(start) - math.log1p(-start))\n"
    )

    said = steelyard(
        "check", "other.py:bias", "--as", "prior_probability_bias", "--map", "prior=start", "--set", "scale=1.0",
        "--set", "name=head", "--profile", "quick",
    )  # fmt: skip

    assert said.exit_code == 0, said.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "quik"], "profile: expected one of quick, default, thorough, got 'quik'; did you mean quick?"),
        (["--map", "prior"], "--map: expected NAME=VALUE, got 'prior'"),
        (["--set", "=1"], "--set: expected NAME=VALUE, got '=1'"),
        (["--technique", "prior_bias"], "technique: expected an id from `steelyard list`, got 'prior_bias'"),
        (["--as", "prior_bias"], "technique: expected an id from `steelyard list`, got 'prior_bias'"),
        (["--requirement", "BIAS-0"], "requirement: expected an id of `steelyard show TECHNIQUE`, got 'BIAS-0'"),
        (["--dtype", "float8"], "dtype: expected one of float64, float32, float16, bfloat16, got 'float8'"),
        (["--known", "none.toml"], "none.toml: No such file or directory"),
        (["--resume"], "--resume: needs --json FILE"),
        (["--json", "-", "--markdown", "-"], "--markdown: standard output is taken by --json; give a FILE"),
        (["--junit", "none/junit.xml"], "--junit: no directory none"),
        (["--badge", "none/badge.svg"], "--badge: no directory none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_status_2(steelyard, arguments, message):
    """Which option, what was expected, what came."""
    said = steelyard("check", "right.py", *arguments)

    assert said.exit_code == 2
    assert said.stderr.startswith(f"steelyard: {message}")
    assert said.stderr.count("\n") == 1
    assert said.stdout == ""


@pytest.mark.parametrize("command", ["check", "smoke"])
def test_a_target_that_cannot_be_loaded_is_one_line_and_status_3(steelyard, command):
    """With the nearest bundled adapter."""
    said = steelyard(command, "torchvison")

    assert said.exit_code == 3
    assert said.stderr.startswith("steelyard: torchvison: no module, file or bundled adapter of this name")
    assert "did you mean torchvision?" in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_case_file_that_is_none(steelyard, tmp_path):
    """Status 2 and one line."""
    (tmp_path / "case.json").write_text("[]")

    for file in ("case.json", "none.json"):
        said = steelyard("replay", file)
        assert said.exit_code == 2
        assert said.stderr.startswith(f"steelyard: {file}: ")
        assert said.stderr.count("\n") == 1


# --- check: reports -----------------------------------------------------------------------------------------------


def test_all_reports_of_one_run_agree(steelyard, tmp_path):
    """JSON, JUnit, Markdown and badge are written by a run that fails, too."""
    said = steelyard(
        "check", "wrong.py", "--profile", "quick", "--json", "r.json", "--junit", "r.xml", "--markdown", "r.md",
        "--badge", "r.svg",
    )  # fmt: skip
    document = json.loads((tmp_path / "r.json").read_text())
    junit = ET.parse(tmp_path / "r.xml").getroot()  # noqa: S314 - our own file
    red = {r["id"] for r in document["techniques"][0]["requirements"] if r["status"] in ("fail", "error")}

    assert said.exit_code == 1
    assert document["techniques"][0]["verdict"] == "deviates"
    assert {case.get("name").split()[0] for case in junit.iter("testcase") if case.find("failure") is not None} <= red
    assert "<b>BIAS-1</b>" in (tmp_path / "r.md").read_text()
    assert "steelyard: deviates" in (tmp_path / "r.svg").read_text()


@pytest.mark.parametrize(
    ("option", "start"), [("--json", "{"), ("--junit", "<?xml"), ("--markdown", "## Steelyard"), ("--badge", "<svg")]
)
def test_a_report_on_standard_output_stands_there_alone(steelyard, option, start):
    """What else is said goes to standard error."""
    said = steelyard("check", "right.py", "--profile", "quick", "-r", "BIAS-1", option, "-")

    assert said.exit_code == 0
    assert said.stdout.startswith(start)
    assert "every MUST holds" in said.stderr
    if option == "--json":
        json.loads(said.stdout)


# --- smoke and mutants --------------------------------------------------------------------------------------------


def test_smoke_says_whether_a_function_answers(steelyard, tmp_path):
    """Status 0 if each does, 1 if one does not, with the reason."""
    (tmp_path / "broken.py").write_text("def prior_probability_bias(prior):\n    return undefined\n")

    right, broken = steelyard("smoke", "right.py"), steelyard("smoke", "broken.py")

    assert right.exit_code == 0
    assert "prior_probability_bias: answers" in right.output
    assert broken.exit_code == 1
    assert "raised NameError" in broken.output


def test_mutants_of_one_technique(steelyard, tmp_path):
    """Each killed, by whom, in the table and as JSON."""
    said = steelyard(
        "mutants", "-t", "prior_probability_bias", "--profile", "quick", "--processes", "1", "--json", "m.json"
    )
    rows = json.loads((tmp_path / "m.json").read_text())
    mutants = [mutant.id for mutant in TECHNIQUES["prior_probability_bias"].mutants]

    assert said.exit_code == 0
    assert f"{len(mutants)} of {len(mutants)} mutants killed" in said.output
    assert [row["mutant"] for row in rows] == mutants
    assert all(row["killed"] and row["by"] for row in rows)


def test_one_mutant(steelyard, tmp_path):
    """By its id, whatever the technique; an unknown one is refused with the nearest."""
    chosen = TECHNIQUES["prior_probability_bias"].mutants[1].id
    said = steelyard("mutants", "-m", chosen, "--profile", "quick", "--processes", "1", "--json", "m.json")
    unknown = steelyard("mutants", "-m", chosen + "s")

    assert said.exit_code == 0
    assert [row["mutant"] for row in json.loads((tmp_path / "m.json").read_text())] == [chosen]
    assert "1 of 1 mutants killed" in said.output
    assert unknown.exit_code == 2
    assert f"did you mean {chosen}?" in unknown.stderr
