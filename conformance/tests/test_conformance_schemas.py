"""What the suite writes fits its JSON Schemas, and the schemas refuse what it would never write."""

import ast
import copy
import json
import re
import tomllib

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from steelyard.conformance import check, loading
from steelyard.conformance.command_line import app
from steelyard.conformance.contract import Kind
from steelyard.conformance.encoding import FLOAT_TEXT
from steelyard.conformance.known_failures import parse_known_failures, read_known_failures
from steelyard.conformance.results import Status, Verdict, result_from_json
from steelyard.conformance.running import Listener
from steelyard.conformance.schemas import DIRECTORY, schema, violation

NAMES = sorted(path.stem for path in DIRECTORY.glob("*.json"))
HEAD = "import math\ndef prior_probability_bias(prior):\n    "
RIGHT = HEAD + "return math.log(prior) - math.log1p(-prior)\n"
WRONG = HEAD + "return math.log(prior)\n"
RAISES = HEAD + "raise RuntimeError('out of order')\n"
ROUNDS = "import numpy\n" + HEAD + "return numpy.float32(math.log(prior)) - numpy.float32(math.log1p(-prior))\n"


@pytest.fixture
def judged(tmp_path):
    """Judges a source text in this process, as a Result."""

    def judge(source, **options):
        (tmp_path / "mine.py").write_text(source)
        return check(str(tmp_path / "mine.py"), profile="quick", isolated=False, cases=tmp_path / "cases", **options)

    return judge


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, list(arguments), catch_exceptions=False)


def through_json(document):
    return json.loads(json.dumps(document, allow_nan=False))


def statuses(document):
    return {found["status"] for technique in document["techniques"] for found in technique["requirements"]}


# --- the schemas themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_of_the_named_draft(name):
    """Draft 2020-12, with a title; no object leaves open what else it may hold."""
    document = schema(name)

    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"].endswith(f"/{name}.json")
    assert document["title"]
    assert [found for found in objects_of(document) if "additionalProperties" not in found] == []


def objects_of(node):
    """Every subschema that says what an object holds."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from objects_of(child)


def test_the_schemas_name_what_the_code_names():
    """Statuses, verdicts, kinds and the text form of floats."""
    definitions = schema("result")["$defs"]

    assert definitions["requirement"]["properties"]["status"]["enum"] == [status.value for status in Status]
    assert definitions["technique"]["properties"]["verdict"]["enum"] == [verdict.value for verdict in Verdict]
    assert definitions["kind"] == schema("list")["$defs"]["kind"] == {"enum": [kind.value for kind in Kind]}
    assert schema("case")["$defs"]["float"]["anyOf"][1]["pattern"] == FLOAT_TEXT


# --- result -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "status"),
    [(RIGHT, "pass"), (WRONG, "fail"), (RAISES, "error"), (ROUNDS, "warn")],
    ids=["conforms", "deviates", "raises", "poor accuracy"],
)
def test_a_result_fits(judged, source, status):
    """Whatever the verdict."""
    document = through_json(judged(source).to_json())

    assert violation(document, "result") == ""
    assert status in statuses(document)


def test_an_interrupted_and_a_resumed_result_fit(judged):
    """At every moment of the run."""
    seen = []

    def interrupt(_, found):
        if found.id == "BIAS-3":
            raise KeyboardInterrupt

    listener = Listener(on_requirement=interrupt, on_progress=lambda result: seen.append(result.to_json()))
    partial = judged(WRONG, listener=listener)
    resumed = judged(WRONG, resume=result_from_json(through_json(partial.to_json())))

    documents = [through_json(document) for document in (*seen, partial.to_json(), resumed.to_json())]
    assert [violation(document, "result") for document in documents] == [""] * len(documents)
    assert (documents[-2]["complete"], documents[-1]["complete"]) == (False, True)
    assert len(documents) > 3


def test_the_file_of_the_command_fits(steelyard, tmp_path):
    """With every option that stands in the settings, a technique that is missing, and known failures."""
    (tmp_path / "mine.py").write_text(
        WRONG.replace("(prior):", "(start, *, name):").replace("log(prior)", "log(start)")
    )
    (tmp_path / "known.toml").write_text(
        '[[known]]\ntechnique = "prior_probability_bias"\nrequirement = "BIAS-1"\nreason = "old"\nurl = "https://x"\n'
    )

    steelyard(
        "check", "mine.py:prior_probability_bias", "--as", "prior_probability_bias", "--map", "prior=start",
        "--set", "name=head", "--dtype", "float64", "--known", "known.toml", "-t", "prior_probability_bias",
        "-t", "sigmoid_focal_loss", "--profile", "quick", "--json", "found.json", "--no-isolation",
    )  # fmt: skip

    document = json.loads((tmp_path / "found.json").read_text())
    assert violation(document, "result") == ""
    assert "known" in statuses(document)
    assert document["techniques"][1]["verdict"] == "not-implemented"


def put(*path, value):
    def spoil(document):
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = value

    return spoil


def drop(*path):
    def spoil(document):
        *way, last = path
        for step in way:
            document = document[step]
        del document[last]

    return spoil


SPOILT_RESULTS = {
    "an unknown key": (put("colour", value="red"), r"\$: .*'colour' was unexpected"),
    "a missing seed": (drop("seed"), r"\$: 'seed' is a required property"),
    "a seed in words": (put("seed", value="zero"), r"\$\.seed: 'zero' is not of type 'integer'"),
    "another schema": (put("schema", value="steelyard-result-0"), r"\$\.schema: .*steelyard-result-1.* was expected"),
    "an unknown profile": (put("profile", value="slow"), r"\$\.profile: 'slow' is not one of"),
    "an unknown status": (
        put("techniques", 0, "requirements", 1, "status", value="passed"),
        r"\$\.techniques\[0\]\.requirements\[1\]\.status: 'passed' is not one of",
    ),
    "an unknown level": (put("techniques", 0, "requirements", 0, "level", value="must"), r"level: 'must' is not one"),
    "an unknown kind": (put("techniques", 0, "requirements", 0, "kind", value="values"), r"kind: 'values' is not one"),
    "an unknown verdict": (put("techniques", 0, "verdict", value="fine"), r"verdict: 'fine' is not one of"),
    "a key of a requirement": (put("techniques", 0, "requirements", 0, "note", value=""), r"'note' was unexpected"),
    "negative checks": (put("techniques", 0, "requirements", 0, "checks", value=-1), r"-1 is less than the minimum"),
    "a missing count": (drop("counts", "warn"), r"\$\.counts: 'warn' is a required property"),
    "a digest that is none": (put("settings", "source", value="abc"), r"\$\.settings\.source: 'abc' does not match"),
    "an unknown dtype": (put("settings", "dtypes", value=["float8"]), r"dtypes\[0\]: 'float8' is not one of"),
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("right") / "mine.py"
    path.write_text(RIGHT)
    return through_json(check(str(path), profile="quick", isolated=False).to_json())


@pytest.mark.parametrize(("spoil", "message"), SPOILT_RESULTS.values(), ids=SPOILT_RESULTS)
def test_a_spoilt_result_is_refused(result, spoil, message):
    """With the place and what is wrong there, in one line."""
    document = copy.deepcopy(result)
    spoil(document)

    said = violation(document, "result")

    assert re.search(message, said)
    assert "\n" not in said


# --- case ---------------------------------------------------------------------------------------------------------

SPOILT_CASES = {
    "an unknown key": (put("note", value=""), r"\$: .*'note' was unexpected"),
    "no cotangent": (drop("cotangent"), r"'cotangent' is a required property"),
    "an unknown dtype": (put("dtype", value="float8"), r"\$\.dtype: 'float8' is not one of"),
    "a bare float": (put("options", "prior", value=0.5), r"\$\.options\.prior: "),
    "a float in words": (
        put("arguments", "x", value={"kind": "float", "shape": [1], "data": ["half"]}),
        r"\$\.arguments\.x\.data\[0\]: ",
    ),
    "an array without shape": (put("arguments", "x", value={"kind": "int", "data": []}), r"x: 'shape' is a required"),
    "a float among integers": (
        put("arguments", "n", value={"kind": "int", "shape": [1], "data": [0.5]}),
        r"n\.data\[0\]: 0.5 is not of type 'integer'",
    ),
}


@pytest.fixture
def case(judged, tmp_path):
    judged(WRONG, requirements=["BIAS-1"])
    (path,) = (tmp_path / "cases").glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_case_fits(case):
    """With numbers as evidence."""
    assert violation(case, "case") == ""
    assert case["evidence"]["what"] == "value"


def test_cases_of_every_kind_fit(steelyard, tmp_path):
    """Several arrays, a cotangent, non-finite numbers; an exception, which leaves no evidence."""
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def sigmoid_focal_loss(logits, targets, *, alpha, gamma):\n"
        "    return np.zeros(logits.shape) / (1.0 if logits.size else 0)\n"
        "def sigmoid_focal_loss_grad(logits, targets, *, alpha, gamma):\n"
        "    return np.full(logits.shape, np.nan)\n"
    )

    steelyard("check", "mine.py", "--profile", "quick", "--no-isolation", "--cases", "cases")

    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((tmp_path / "cases").glob("*.json"))]
    assert [violation(document, "case") for document in documents] == [""] * len(documents)
    assert any(document["evidence"] is None for document in documents)
    assert any(document["cotangent"] is not None for document in documents)
    assert any("nan" in document["evidence"]["got"]["data"] for document in documents if document["evidence"])


@pytest.mark.parametrize(("spoil", "message"), SPOILT_CASES.values(), ids=SPOILT_CASES)
def test_a_spoilt_case_is_refused(case, spoil, message):
    """With the place."""
    spoil(case)

    assert re.search(message, violation(case, "case"))


# --- known failures -----------------------------------------------------------------------------------------------


def test_a_written_file_of_known_failures_fits(steelyard, tmp_path):
    """As TOML gives it, and it is read again."""
    (tmp_path / "mine.py").write_text(WRONG)

    steelyard("check", "mine.py", "--profile", "quick", "--no-isolation", "--write-known", "known.toml")

    document = tomllib.loads((tmp_path / "known.toml").read_text())
    assert violation(document, "known-failures") == ""
    assert len(document["known"]) == len(read_known_failures(tmp_path / "known.toml")) > 0


@pytest.mark.parametrize("path", sorted(loading.BUNDLED.glob("*.py")), ids=lambda path: path.stem)
def test_the_known_failures_of_an_adapter_fit(path):
    """The constant alone: the library need not be installed. What it takes over from another file is tested there."""
    assigned = {
        ast.unparse(target): node.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    known = assigned.get("KNOWN", ast.List([], ast.Load()))
    known.elts = [entry for entry in known.elts if not isinstance(getattr(entry, "value", None), ast.Attribute)]

    entries = eval(compile(ast.fix_missing_locations(ast.Expression(known)), path.name, "eval"))  # noqa: S307 - our own

    assert violation({"known": entries}, "known-failures") == ""
    parse_known_failures(entries, path.stem)


ENTRY = {"technique": "prior_probability_bias", "requirement": "BIAS-1", "reason": "old"}
SPOILT_KNOWN = {
    "another table": ({"knwon": [ENTRY]}, "unknown table 'knwon'; did you mean known"),
    "no list": ({"known": ENTRY}, r"known: expected \[\[known\]\] tables"),
    "an unknown field": ({"known": [{**ENTRY, "link": ""}]}, "known failure 1: unknown field 'link'"),
    "no reason": ({"known": [{**ENTRY, "reason": ""}]}, "reason: expected a text, got nothing"),
    "a number": ({"known": [{**ENTRY, "reason": 3}]}, "reason: expected a text, got 3"),
    "an url that is none": ({"known": [{**ENTRY, "url": ["x"]}]}, r"url: expected a text, got \['x'\]"),
    "a strange condition": ({"known": [{**ENTRY, "when": "version 2"}]}, "when: expected e.g. 'version < 0.30'"),
}


@pytest.mark.parametrize(("document", "message"), SPOILT_KNOWN.values(), ids=SPOILT_KNOWN)
def test_schema_and_reader_refuse_the_same(steelyard, tmp_path, document, message):
    """The reader says it in words of its own, in one line with status 2."""
    import tomli_w

    (tmp_path / "mine.py").write_text(RIGHT)
    (tmp_path / "known.toml").write_text(tomli_w.dumps(document))

    said = steelyard("check", "mine.py", "--known", "known.toml")

    assert violation(document, "known-failures") != ""
    assert said.exit_code == 2
    assert re.search(message, said.stderr)


# --- list and mutants ---------------------------------------------------------------------------------------------


def test_the_list_fits(steelyard):
    """Every technique of the specification."""
    document = json.loads(steelyard("list", "--json", "-").stdout)

    assert violation(document, "list") == ""
    document[0]["requirements"][0]["level"] = "must"
    assert "'must' is not one of" in violation(document, "list")


@pytest.mark.parametrize("form", [[], ["--automatic", "--sample", "2"]], ids=["catalogue", "automatic"])
def test_the_kill_matrix_fits(steelyard, form):
    """Both forms."""
    asked = ["mutants", "-t", "prior_probability_bias", "--profile", "quick", "--processes", "1", "--json", "-", *form]
    document = json.loads(steelyard(*asked).stdout)

    assert document
    assert violation(document, "mutants") == ""
    assert violation([{**document[0], "killed": "yes"}], "mutants") != ""
