"""Frozen vectors: the same on every machine, judged like a run, and nothing that is missing or changed goes unnoticed.

`vectors-manifest.json` beside this file says what the vectors are. Where a contract was changed or added, write it
anew, from the repository's root:

    folder=$(mktemp -d)
    steelyard vectors write "$folder" && cp "$folder/manifest.json" conformance/tests/vectors-manifest.json

Compared are the fingerprints, which hold the inputs exactly and the answers coarsely: the last digit of a float may
differ between machines, and with it the files' own digests.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from steelyard.conformance.candidates import CandidateError
from steelyard.conformance.command_line import app
from steelyard.conformance.diagnosis import mutant_functions, oracle_functions
from steelyard.conformance.encoding import FLOAT_FORMS, decode_case, encode_array
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.schemas import violation
from steelyard.conformance.vectors.writing import (
    BYTES_A_CASE,
    CASES,
    fingerprint,
    frozen_cases,
    make_vectors,
    write_vectors,
)

MANIFEST = json.loads(Path(__file__).with_name("vectors-manifest.json").read_text(encoding="utf-8"))
GUIDE = Path(__file__).parents[2] / "docs" / "vectors.md"
COMMAND = [sys.executable, "-m", "steelyard.conformance"]
LOSS, SAMPLER, KINKED = "sigmoid_focal_loss", "random_sampling", "quality_focal_loss"


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A loss with gradients, one with kinks, and masks."""
    folder = tmp_path_factory.mktemp("vectors") / "vectors"
    write_vectors(folder, [TECHNIQUES[name] for name in (LOSS, SAMPLER, KINKED)])
    return folder


def lines_of(folder, technique_id=LOSS):
    return [json.loads(line) for line in (folder / f"{technique_id}.jsonl").read_text(encoding="utf-8").splitlines()]


def answered(folder, technique_id=LOSS, functions=None, *, gradients=True):
    """What functions (the oracle) answer to the vectors of a technique."""
    contract = TECHNIQUES[technique_id]
    functions = functions or oracle_functions(contract)
    entries = []
    for line in lines_of(folder, technique_id):
        entry = {"case": line["case"], "outputs": {}}
        try:
            answer = functions.evaluate(technique_id, decode_case(line), list(line["gradients"]) if gradients else [])
        except CandidateError:
            entries.append(entry)
            continue
        entry["outputs"] = {
            output.name: encode_array(values) for output, values in zip(contract.outputs, answer.outputs, strict=True)
        }
        if answer.gradients:
            entry["gradients"] = {name: encode_array(values) for name, values in answer.gradients.items()}
        entries.append(entry)
    return entries


def write_lines(path, entries):
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    return str(path)


@pytest.fixture
def verified(steelyard, vectors, tmp_path):
    """Exit status, output, and the result's techniques by id, of answers."""

    def verify(entries):
        path = write_lines(tmp_path / "answers.jsonl", entries)
        said = steelyard("vectors", "verify", str(vectors), path, "--json", "found.json")
        document = json.loads((tmp_path / "found.json").read_text()) if said.exit_code in (0, 1) else None
        return said, {} if document is None else {judged["id"]: judged for judged in document["techniques"]}

    return verify


def statuses(judged):
    return {found["id"]: found["status"] for found in judged["requirements"]}


# --- what is written ----------------------------------------------------------------------------------------------


def test_the_vectors_are_those_of_the_manifest():
    """Every technique, no other, the same inputs and answers; the module's first lines say how to write it anew."""
    expected = {entry["id"]: (entry["cases"], entry["fingerprint"]) for entry in MANIFEST["techniques"]}

    cases = {id_: list(frozen_cases(contract)) for id_, contract in TECHNIQUES.items()}

    found = {id_: (len(own), fingerprint(own)) for id_, own in cases.items()}
    assert sorted(id_ for id_ in {*expected, *found} if expected.get(id_) != found.get(id_)) == []


def test_all_vectors_stay_under_five_megabytes():
    """Measured; and the number of cases of each technique that fits into its share."""
    sizes = {entry["id"]: entry["bytes"] for entry in MANIFEST["techniques"]}

    assert sum(sizes.values()) < 5e6
    assert [id_ for id_, size in sizes.items() if size > 1.3 * CASES * BYTES_A_CASE] == []
    assert violation(MANIFEST, "vectors") == ""


def test_two_directories_are_equal_byte_for_byte(tmp_path):
    """From another working directory, in CI or not, with another order of hashes."""
    content = []
    for number, environment in enumerate(({"CI": "true", "PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        own = {name: value for name, value in os.environ.items() if name != "CI"} | environment
        command = [*COMMAND, "vectors", "write", "vectors", "-t", LOSS, "-t", SAMPLER, "--cases", "8"]
        subprocess.run(command, cwd=folder, env=own, check=True, capture_output=True)
        content.append({path.name: path.read_bytes() for path in (folder / "vectors").iterdir()})

    assert content[0] == content[1]
    assert set(content[0]) == {"manifest.json", f"{LOSS}.jsonl", f"{SAMPLER}.jsonl"}


def test_the_last_digit_of_a_machine_does_not_change_the_fingerprint():
    """Each answer moved by one unit in the last place; by 1e-3, it changes."""
    random = np.random.default_rng(0)
    cases = list(frozen_cases(TECHNIQUES[KINKED]))

    def moved(values, share):
        if share is None:
            with np.errstate(over="ignore"):
                return np.nextafter(values, random.choice([-np.inf, np.inf], values.shape))
        return values * (1 + share)

    def changed(share):
        return [
            replace(
                case,
                outputs={name: moved(values, share) for name, values in case.outputs.items()},
                gradients={n: (moved(low, share), moved(high, share)) for n, (low, high) in case.gradients.items()},
            )
            for case in cases
        ]

    assert fingerprint(changed(None)) == fingerprint(cases)
    assert fingerprint(changed(1e-3))["answers"] != fingerprint(cases)["answers"]


def test_a_shorter_file_is_the_beginning_of_a_longer_one():
    """So that fewer cases are no other cases."""
    short, long = (make_vectors(TECHNIQUES[SAMPLER], count=count) for count in (5, 20))

    assert long.lines[: len(short.lines)] == short.lines
    assert len(short.lines) < len(long.lines)


def test_another_seed_draws_other_inputs():
    """And the fingerprint says so."""
    one, other = (make_vectors(TECHNIQUES[LOSS], seed=seed, count=5) for seed in (0, 1))

    assert set(one.lines).isdisjoint(other.lines)
    assert one.fingerprint != other.fingerprint


def test_the_form_of_floats_changes_no_input():
    """All forms are exact: the fingerprint is the same, and so is what is read."""
    made = [make_vectors(TECHNIQUES[LOSS], count=6, floats=form) for form in FLOAT_FORMS]

    assert len({json.dumps(vectors.fingerprint) for vectors in made}) == 1
    for lines in zip(*(vectors.lines for vectors in made), strict=True):
        first, *others = [decode_case(json.loads(line)) for line in lines]
        for other in others:
            assert all(np.array_equal(first.arguments[n], v, equal_nan=True) for n, v in other.arguments.items())


def test_every_requirement_that_can_be_frozen_is_covered(vectors):
    """Values and gradients; manifest and lines fit their schemas."""
    manifest = json.loads((vectors / "manifest.json").read_text())
    documents = [line for name in (LOSS, SAMPLER, KINKED) for line in lines_of(vectors, name)]

    assert violation(manifest, "vectors") == ""
    assert {violation(document, "vectors-case") for document in documents} == {""}
    assert {"FL-1", "FL-2", "FL-5", "FL-7", "FL-14"} <= set(manifest["techniques"][0]["requirements"])
    assert any("low" in gradient for document in documents for gradient in document["gradients"].values())


def test_a_precision_may_be_chosen(steelyard):
    """The cases of one precision only."""
    assert steelyard("vectors", "write", "made", "-t", LOSS, "--cases", "9", "--dtype", "float64").exit_code == 0

    assert {line["dtype"] for line in lines_of(Path("made"))} == {"float64"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "focal"], "technique: expected an id from `steelyard list`, got 'focal'"),
        (["--floats", "octal"], "--floats: expected one of hex, decimal, number, got 'octal'"),
        (["--dtype", "float8"], "--dtype: expected one of float64, float32, float16, bfloat16, got 'float8'"),
        ([], "taken: expected a new or empty directory"),
    ],
    ids=["technique", "floats", "dtype", "taken"],
)
def test_wrong_usage_of_write_is_status_2(steelyard, tmp_path, arguments, message):
    """One line; what is there is not overwritten."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")

    said = steelyard("vectors", "write", "taken", *arguments)

    assert said.exit_code == 2
    assert said.stderr.startswith(f"steelyard: {message}")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]


# --- verifying ----------------------------------------------------------------------------------------------------


def test_the_oracle_verifies(verified, vectors):
    """With every requirement, gradients and masks; the result is one of `check`."""
    entries = [entry for name in (LOSS, SAMPLER, KINKED) for entry in answered(vectors, name)]

    said, found = verified(entries)

    assert said.exit_code == 0, said.output
    assert {name: judged["verdict"] for name, judged in found.items()} == dict.fromkeys(found, "conforms")
    assert list(found) == [LOSS, SAMPLER, KINKED]
    assert set(statuses(found[LOSS]).values()) == {"pass"}
    assert "every MUST holds" in said.output
    assert violation(json.loads(Path("found.json").read_text()), "result") == ""
    assert {violation(entry, "vectors-answer") for entry in entries} == {""}


def test_known_mistakes_do_not_verify(vectors, verified):
    """Of the catalogue, as many as the guide says: most that are wrong in a value or a gradient."""
    contract = TECHNIQUES[LOSS]

    survivors = []
    for mutant in contract.mutants:
        functions = mutant_functions(contract, mutant.id)
        _, found = verified(answered(vectors, LOSS, functions, gradients=bool(mutant.gradient)))
        if set(statuses(found[LOSS]).values()) <= {"pass", "warn", "skip"}:
            survivors.append(mutant.id)

    guide = " ".join(GUIDE.read_text(encoding="utf-8").split())
    caught = len(contract.mutants) - len(survivors)
    assert f"of the {len(contract.mutants)} known mistakes of the sigmoid focal loss" in guide
    assert f"they catch {caught}." in guide, survivors


def test_nested_lists_are_read_and_a_list_of_entries(vectors, steelyard, tmp_path):
    """The forms that a program finds easiest; hexadecimal and decimal texts, "nan" and bare NaN."""
    entries = answered(vectors)
    for entry in entries:
        for part in ("outputs", "gradients"):
            for name, array in entry.get(part, {}).items():
                values = np.array([float.fromhex(text) for text in array["data"]]).reshape(array["shape"])
                entry[part][name] = values.tolist()
    (tmp_path / "answers").mkdir()
    half = len(entries) // 2
    (tmp_path / "answers" / "one.json").write_text(json.dumps(entries[:half]))  # NaN and Infinity as Python has them
    write_lines(tmp_path / "answers" / "two.jsonl", entries[half:])
    (tmp_path / "answers" / "notes.txt").write_text("not read")

    said = steelyard("vectors", "verify", str(vectors), "answers")

    assert said.exit_code == 0, said.output


def test_a_wrong_answer_is_reported_like_a_failure_of_check(vectors, verified):
    """Worst element, distances, inputs, the case and the line of the answer."""
    entries = answered(vectors)
    entries[0]["outputs"]["loss"]["data"][1] = 7.0

    said, found = verified(entries)

    assert said.exit_code == 1
    assert found[LOSS]["verdict"] == "deviates"
    assert statuses(found[LOSS])["FL-1"] == "fail"
    assert statuses(found[LOSS])["FL-2"] == "pass"
    assert "FL-1 MUST fail: value: 1 of 4 elements outside the bound" in said.output
    assert "worst at [1]: got 7, expected" in said.output
    assert f"{LOSS}-0000, answered in" in said.output
    assert "answers.jsonl line 1" in said.output


SPOILT = {
    "another shape": ([[1.0, 2.0]], "value: shape (1, 2), expected (4,)"),
    "a number": (1.0, "value: shape (), expected (4,)"),
    "ragged": ([[1.0], [1.0, 2.0]], "value: [1]: expected the shape of its neighbour (1,), got (2,)"),
    "null": ([None, 1.0, 1.0, 1.0], "value: expected a number or a text"),
    "words": (["one"], "value: expected a number or a text"),
    "too few": (
        {"kind": "float", "shape": [4], "data": [1.0]},
        "value: data: expected 4 elements for shape (4,), got 1",
    ),
}


@pytest.mark.parametrize(("answer", "message"), SPOILT.values(), ids=SPOILT)
def test_an_unreadable_array_fails_its_case(vectors, verified, answer, message):
    """And no other; the message says what was expected."""
    entries = answered(vectors)
    entries[0]["outputs"]["loss"] = answer

    said, found = verified(entries)

    assert said.exit_code == 1
    assert message in said.output
    assert statuses(found[LOSS])["FL-2"] == "pass"


def test_a_missing_answer_is_an_error(vectors, verified):
    """Counted, with the first one's name: a shorter run is not a better one."""
    lost, *entries = answered(vectors)

    said, found = verified(entries)

    assert said.exit_code == 1
    assert found[LOSS]["verdict"] == "deviates"
    assert "error" in statuses(found[LOSS]).values()
    assert f"no answer to {lost['case']}" in said.output


def test_an_output_of_another_name_is_an_error(vectors, verified):
    """With the names that there are."""
    entries = answered(vectors)
    entries[0]["outputs"] = {"losses": [0.0]}

    said, _ = verified(entries)

    assert said.exit_code == 1
    assert "answers.jsonl line 1: no output loss; there are losses" in said.output


def test_skipped_cases_are_counted_and_not_judged(vectors, verified):
    """With the reason; a technique of which the value is skipped does not conform."""
    entries = answered(vectors)
    halves = {line["case"] for line in lines_of(vectors) if line["dtype"] in ("float16", "bfloat16")}
    some = [e if e["case"] not in halves else {"case": e["case"], "skip": "no half precision"} for e in entries]

    said, found = verified(some)
    nothing, none = verified([{"case": entry["case"], "skip": "not written yet"} for entry in entries])

    assert said.exit_code == 0
    assert statuses(found[LOSS])["FL-8"] == "skip"
    assert f"{len(halves)} of {len(entries)} cases are skipped: no half precision" in said.output
    assert nothing.exit_code == 1
    assert none[LOSS]["verdict"] == "not-implemented"


def test_a_program_without_gradients_is_judged_by_its_values(vectors, verified):
    """As a candidate without them is; one gradient answered, all are wanted."""
    entries = answered(vectors, gradients=False)

    said, found = verified(entries)
    some, _ = verified([{**entries[0], "gradients": answered(vectors)[0]["gradients"]}, *entries[1:]])

    assert said.exit_code == 0
    assert statuses(found[LOSS])["FL-2"] == "skip"
    assert "no gradient is answered" in said.output
    assert some.exit_code == 1
    assert "no gradient logits" in some.output


@pytest.mark.parametrize("entries", [[], [{}]], ids=["empty file", "empty folder"])
def test_no_answer_does_not_conform(vectors, steelyard, tmp_path, entries):
    """Nothing judged is nothing to be green about."""
    place = tmp_path / "answers"
    if entries:
        place.mkdir()
    else:
        place.write_text("")

    said = steelyard("vectors", "verify", str(vectors), "answers")

    assert said.exit_code == 1
    assert "nothing judged" in said.output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"case": "sigmoid_focal_los-0000"}',
            "has no case 'sigmoid_focal_los-0000'; did you mean sigmoid_focal_loss-0000",
        ),
        ('{"case": "sigmoid_focal_loss-0000"}\n' * 2, "line 2: sigmoid_focal_loss-0000 is answered twice, before in"),
        ('{"case": ', "line 1: not JSON"),
        ('{"case": ' + "1" * 5000 + "}", "line 1: not JSON"),
        ("[1]", 'entry 1: expected an object such as {"case"'),
        ('{"case": "sigmoid_focal_loss-0000", "loss": [1]}', "line 1: unknown field 'loss'"),
        (
            '{"case": "sigmoid_focal_loss-0000", "outputs": [1]}',
            "line 1: outputs: expected an object of arrays by name",
        ),
        ('{"case": "sigmoid_focal_loss-0000", "skip": true}', "line 1: skip: expected the reason as a text"),
        ("\xff", "not UTF-8"),
        (None, "no such file or directory"),
    ],
    ids=[
        "unknown case",
        "twice",
        "not JSON",
        "long number",
        "no object",
        "unknown field",
        "no arrays",
        "no reason",
        "bytes",
        "missing",
    ],
)
def test_answers_that_cannot_be_read_are_status_3(vectors, steelyard, tmp_path, content, message):
    """One line with the place."""
    if content is not None:
        (tmp_path / "answers.jsonl").write_bytes(content.encode("latin-1"))

    said = steelyard("vectors", "verify", str(vectors), "answers.jsonl")

    assert said.exit_code == 3
    assert message in said.stderr
    assert said.stderr.count("\n") == 1


def spoil_line(folder):
    path = folder / f"{LOSS}.jsonl"
    path.write_text(path.read_text().replace("FL-1", "FL-2", 1))


def spoil_manifest(old, new):
    def spoil(folder):
        path = folder / "manifest.json"
        path.write_text(path.read_text().replace(old, new, 1))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_line, f"{LOSS}.jsonl: changed since it was written: its SHA-256 is not the manifest's"),
        (lambda folder: (folder / f"{LOSS}.jsonl").unlink(), "No such file or directory, but the manifest names it"),
        (lambda folder: (folder / "manifest.json").unlink(), "`steelyard vectors write` makes such a directory"),
        (spoil_manifest("{", "["), "manifest.json: not JSON"),
        (spoil_manifest("vectors-1", "vectors-9"), "not a manifest of vectors: $.schema"),
        (spoil_manifest("FL-1", "FL-99"), "no FL-99 here: written by steelyard"),
        (spoil_manifest(f'"id": "{LOSS}"', '"id": "old_loss"'), "no old_loss here: written by steelyard"),
    ],
    ids=["changed", "missing", "no manifest", "not JSON", "schema", "requirement", "technique"],
)
def test_vectors_that_were_changed_are_status_2(steelyard, tmp_path, spoil, message):
    """Before any answer is judged."""
    write_vectors(tmp_path / "made", [TECHNIQUES[LOSS]], count=3)
    answers = write_lines(tmp_path / "answers.jsonl", answered(tmp_path / "made"))
    spoil(tmp_path / "made")

    said = steelyard("vectors", "verify", "made", answers)

    assert said.exit_code == 2
    assert message in said.stderr
