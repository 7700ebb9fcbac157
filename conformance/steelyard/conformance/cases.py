"""Case files: one failing input, exact to the last bit, and a script that shows the failure without the suite.

The form of arrays is that of `encoding`; the JSON Schema is `schemas/case.json` in the package.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steelyard.conformance.checking import Evidence
from steelyard.conformance.contract import Array, Case
from steelyard.conformance.encoding import EncodingError, decode_case, encode_array, encode_case
from steelyard.conformance.loading import Target

SCHEMA = "steelyard-case-1"


class CaseError(ValueError):
    """A case file cannot be used."""


@dataclass(frozen=True)
class FailingCase:
    """What a case file holds."""

    technique: str
    requirement: str
    case: Case
    message: str
    target: Target
    evidence: Evidence | None = None
    dialect: str | None = None


def write_case(directory: Path, failing: FailingCase) -> Path:
    """Write the case and its script; the name tells the requirement and a digest of input and target."""
    body = encode_case(failing.case)
    digest = hashlib.sha256(json.dumps([failing.target.text, body], sort_keys=True).encode()).hexdigest()[:8]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{failing.technique}-{failing.requirement}-{digest}.json"
    document = {
        "schema": SCHEMA,
        "technique": failing.technique,
        "requirement": failing.requirement,
        "dialect": failing.dialect,
        "target": {
            "text": failing.target.text,
            "technique": failing.target.technique,
            "names": dict(failing.target.names),
            "constants": dict(failing.target.constants),
        },
        "message": failing.message,
        **body,
        "evidence": None
        if failing.evidence is None
        else {
            "what": failing.evidence.what,
            "got": encode_array(np.asarray(failing.evidence.actual)),
            "expected": encode_array(np.asarray(failing.evidence.expected)),
            "allowed": encode_array(np.asarray(failing.evidence.allowed, dtype=np.float64)),
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".py").write_text(script(failing), encoding="utf-8")
    return path


def read_case(path: Path) -> FailingCase:
    """Read a case file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("schema") != SCHEMA:
            raise CaseError(f"{path}: schema: expected {SCHEMA}, got {document.get('schema')!r}")
        target = Target(**document["target"])
        return FailingCase(
            document["technique"], document["requirement"], decode_case(document), document["message"], target,
            dialect=document.get("dialect"),
        )  # fmt: skip
    except OSError as error:
        raise CaseError(
            f"{path}: {error.strerror}; expected a file that `steelyard check` writes of a failure"
        ) from error
    except (json.JSONDecodeError, EncodingError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: not a case file: {type(error).__name__}: {error}") from error


def script(failing: FailingCase) -> str:
    """A script that calls the candidate on the case and needs NumPy and the candidate only."""
    case, target = failing.case, failing.target
    if target.text.startswith("exec:"):
        return _script_of_a_program(failing)
    lines = [
        f'"""{failing.technique} {failing.requirement}: {failing.message.splitlines()[0]}"""',
        "",
        "import numpy as np",
        "",
    ]
    arrays = ", ".join(f"{name}={_literal(values, case.dtype)}" for name, values in case.arguments.items())
    options = ", ".join(f"{name}={value!r}" for name, value in case.options.items())
    source, _, function = target.text.rpartition(":")
    if source and not source.endswith(".py"):
        lines += [f"from {source} import {function} as candidate"]
    else:
        lines += ["# put your import here: the function that was judged", f"# target: {target.text}"]
        lines += [f"from candidate import {function if source else failing.technique} as candidate"]
    lines += ["", f"arguments = dict({arrays})", f"options = dict({options})"]
    lines += [
        "# NumPy arrays; wrap them for your framework, e.g. {n: torch.from_numpy(a) for n, a in arguments.items()}"
    ]
    lines += ['print("got     ", candidate(**arguments, **options))']
    if failing.evidence is not None:
        expected = np.array2string(np.asarray(failing.evidence.expected), separator=", ", threshold=50)
        lines += [f'print("expected", """{expected}""")  # {failing.evidence.what}']
    return "\n".join(lines) + "\n"


def _script_of_a_program(failing: FailingCase) -> str:
    """The same for a program: the two lines that it was sent, and what it answers."""
    gradient = failing.evidence is not None and failing.evidence.what.startswith("gradient of ")
    call = {
        "type": "call", "id": 1, "technique": failing.technique, **encode_case(failing.case),
        "gradient_of": [failing.evidence.what.removeprefix("gradient of ")] if gradient and failing.evidence else [],
    }  # fmt: skip
    lines = [
        f'"""{failing.technique} {failing.requirement}: {failing.message.splitlines()[0]}"""',
        "",
        "import shlex",
        "import subprocess",
        "",
        """hello = '{"type": "hello", "protocol": "steelyard-protocol-1"}'""",
        f"call = {json.dumps(call)!r}",
        f"command = shlex.split({failing.target.text.removeprefix('exec:')!r})",
        'sent = f"{hello}\\n{call}\\n"',
        "done = subprocess.run(command, input=sent, capture_output=True, text=True, check=False)",
        "print(done.stdout.splitlines()[-1])",
    ]
    if failing.evidence is not None:
        expected = np.array2string(np.asarray(failing.evidence.expected), separator=", ", threshold=50)
        lines += [f'print("expected", """{expected}""")  # {failing.evidence.what}']
    return "\n".join(lines) + "\n"


def _literal(values: Array, dtype: str) -> str:
    kind = {"f": "float32" if dtype == "bfloat16" else dtype, "i": "int64", "b": "bool"}[values.dtype.kind]
    text = repr(values.tolist()).replace("inf", "np.inf").replace("nan", "np.nan")
    return f'np.array({text}, dtype="{kind}").reshape({values.shape})'
