"""Programs in any language as candidates: `exec:COMMAND` speaks JSON lines (docs/protocol.md).

One request a line to the program's standard input, one answer a line from its standard output; standard error is the
program's own. The program is a process of its own in any case, so what it does cannot end the run: a hang, a crash or
output without end is `CandidateLost`, and the next call starts it afresh.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from steelyard.conformance.candidates import (
    Answer,
    CandidateError,
    CandidateLost,
    Description,
    LoadError,
    NoGradientError,
    Signature,
    accepted_options,
)
from steelyard.conformance.contract import Array, Case
from steelyard.conformance.encoding import EncodingError, decode_array, encode_array, encode_option
from steelyard.conformance.isolation import Limits, signal_name
from steelyard.conformance.loading import Target
from steelyard.conformance.registry import TECHNIQUES, closest, technique
from steelyard.conformance.schemas import violation

PREFIX = "exec:"
PROTOCOL = "steelyard-protocol-1"
HELLO = {"type": "hello", "protocol": PROTOCOL}
_LONGEST_LINE = 64 * 2**20
_READ = 1 << 16
_GOODBYE = 5.0  # seconds that the program may take to end after its input has


def is_program(text: str) -> bool:
    """Whether a TARGET is a program."""
    return text.startswith(PREFIX)


class Program:
    """Talks to a program; starts it when needed and ends it when it misbehaves."""

    def __init__(self, target: Target, *, device: str = "cpu", limits: Limits | None = None) -> None:
        self._text = target.text
        self._only = target.technique
        if target.names or target.constants:
            raise LoadError(f"{self._text}: --map and --set are for Python functions; a program knows our names")
        if device != "cpu":
            raise LoadError(f"{self._text}: device: a program gets numbers, not tensors on {device}")
        try:
            self._command = shlex.split(self._text.removeprefix(PREFIX))
        except ValueError as error:
            raise LoadError(f"{self._text}: not a command: {error}") from error
        if not self._command:
            raise LoadError(f"{self._text}: expected a command after {PREFIX}")
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the candidate
        self._received = bytearray()
        self._number = 0
        self._floats = "hex"
        self._gradients: dict[str, tuple[str, ...]] = {}
        self.differentiates = False
        try:
            self.description = self._start()
        except LoadError:
            self._errors.close()
            raise

    def evaluate(self, technique: str, case: Case, gradient_of: Sequence[str] = ()) -> Answer:
        """Ask for the answer to one case."""
        lacking = [name for name in gradient_of if name not in self._gradients[technique]]
        if lacking:
            raise NoGradientError(f"the program offers no gradient with respect to {lacking[0]}")
        self._number += 1
        request = self.request(technique, case, gradient_of)
        if self._process is None:
            try:
                self._start()
            except LoadError as error:
                raise CandidateLost(f"did not load again: {error}") from error
        try:
            answer = self._exchange(request, self._limits.call_seconds)
            return self._decoded(answer, case, gradient_of)
        except CandidateLost:
            self._stop()
            raise
        except _OutOfStepError as error:
            self._stop()  # what else lies in the pipe belongs to no question
            raise CandidateError(str(error)) from error

    def request(self, technique: str, case: Case, gradient_of: Sequence[str] = ()) -> dict[str, Any]:
        """The line that asks for one case."""
        signature = self.description.functions[technique]
        return call_request(self._number, technique, case, gradient_of, signature=signature, floats=self._floats)

    def tampering(self) -> str:
        """Nothing: a program has no access to the suite. Empties the record of its standard error."""
        self._errors.seek(0)
        self._errors.truncate()
        return ""

    def close(self) -> None:
        """End the program: its input ends, and if that does not help it is ended."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GOODBYE)
        self._stop()
        self._errors.close()

    def _start(self) -> Description:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command is what the user asked to judge
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                start_new_session=os.name == "posix", bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise LoadError(
                f"{self._text}: {self._command[0]}: {error.strerror}; expected exec:COMMAND as in a shell"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._received.clear()
        os.set_blocking(self._process.stdin.fileno(), False)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._limit_memory()
        try:
            hello = self._exchange(HELLO, self._limits.load_seconds)
        except (CandidateLost, _OutOfStepError) as error:
            self._stop()
            raise LoadError(f"{self._text}: while saying hello, the program {error}") from error
        return self._described(hello)

    def _described(self, hello: dict[str, Any]) -> Description:
        wrong = violation(hello, "protocol") or ("" if hello["type"] == "hello" else "$.type: expected hello")
        if wrong:
            self._stop()
            raise LoadError(f"{self._text}: its hello is not as docs/protocol.md says: {wrong}")
        functions = {}
        if self._only is not None:
            self._refuse_unknown("--as", [self._only], hello["functions"])
        for technique_id, offered in hello["functions"].items():
            if technique_id not in TECHNIQUES:
                self._stop()
                hint = closest(technique_id, list(TECHNIQUES))
                raise LoadError(f"{self._text}: functions: unknown technique {technique_id!r}{hint}")
            contract = technique(technique_id)
            options = [option.name for option in contract.options]
            self._refuse_unknown(f"{technique_id}: options", offered.get("options", ()), options)
            differentiable = [argument.name for argument in contract.arguments if argument.differentiable]
            self._refuse_unknown(f"{technique_id}: gradients", offered.get("gradients", ()), differentiable)
            if self._only not in (None, technique_id):
                continue
            functions[technique_id] = Signature(
                frozenset(offered.get("options", options)),
                has_gradient=bool(offered.get("gradients")),
                takes_keys=offered.get("keys", True),
                text=f"{technique_id} of {self._text}",
            )
            self._gradients[technique_id] = tuple(offered.get("gradients", ()))
        for technique_id, dialect in hello.get("dialects", {}).items():
            self._refuse_unknown("dialects", [technique_id], functions)
            self._refuse_unknown(
                f"dialects: {technique_id}", [dialect], [offered.id for offered in technique(technique_id).dialects]
            )
        self._floats = hello.get("floats", "hex")
        return Description(
            name=hello["name"], version=hello.get("version", ""), arrays="JSON lines", dtypes=tuple(hello["dtypes"]),
            functions=functions, dialects=hello.get("dialects", {}), known=tuple(hello.get("known", ())),
        )  # fmt: skip

    def _refuse_unknown(self, where: str, names: Iterable[str], known: Iterable[str]) -> None:
        for name in names:
            if name not in known:
                self._stop()
                raise LoadError(f"{self._text}: {where}: expected some of {', '.join(known) or 'none'}, got {name!r}")

    def _decoded(self, answer: dict[str, Any], case: Case, gradient_of: Sequence[str]) -> Answer:
        wrong = violation(answer, "protocol") or ("" if answer["type"] == "answer" else "$.type: expected answer")
        if wrong:
            raise _OutOfStepError(f"answered what docs/protocol.md does not know: {wrong}")
        if answer["id"] != self._number:
            raise _OutOfStepError(f"answered call {answer['id']}, expected an answer to call {self._number}")
        if "error" in answer:
            raise CandidateError(f"refused: {answer['error']}")
        given = answer.get("gradients", {})
        try:
            outputs = [_array(output, case) for output in answer["outputs"]]
            for name in gradient_of:
                if name not in given:
                    raise CandidateError(f"its answer lacks the gradient with respect to {name}")
            gradients = {name: _array(given[name], case) for name in gradient_of}
        except EncodingError as error:
            raise CandidateError(f"answered an array that cannot be read: {error}") from error
        return Answer(
            tuple(values for values, _ in outputs),
            tuple(dtype for _, dtype in outputs),
            {name: values for name, (values, _) in gradients.items()},
            {name: dtype for name, (_, dtype) in gradients.items()},
        )

    def _exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Send one line and wait for one, reading while writing: neither side may wait for the other's full pipe."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = memoryview(json.dumps(request, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        deadline = time.monotonic() + seconds
        pipes = select.poll()
        pipes.register(self._process.stdout, select.POLLIN)
        pipes.register(self._process.stdin, select.POLLOUT)
        searched = 0
        while self._received.find(b"\n", searched) < 0:
            searched = len(self._received)
            left = deadline - time.monotonic()
            if left <= 0:
                raise CandidateLost(f"did not answer within {seconds:g} s")
            self._refuse_floods()
            ready = {descriptor for descriptor, _ in pipes.poll(min(left, 0.1) * 1000)}
            if self._process.stdout.fileno() in ready:
                read = self._process.stdout.read(_READ)
                if read == b"":
                    raise CandidateLost(self._how_it_ended())
                self._received += read or b""
            if line and self._process.stdin.fileno() in ready:
                try:
                    line = line[self._process.stdin.write(line) or 0 :]
                except OSError as error:
                    raise CandidateLost(self._how_it_ended()) from error
                if not line:
                    pipes.unregister(self._process.stdin)
        answer, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        return _object(answer)

    def _refuse_floods(self) -> None:
        if len(self._received) > _LONGEST_LINE:
            raise CandidateLost(f"answered a line of more than {_LONGEST_LINE // 2**20} MiB")
        if os.fstat(self._errors.fileno()).st_size > self._limits.output_bytes:
            raise CandidateLost(f"wrote more than {self._limits.output_bytes // 2**20} MiB to its standard error")

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(timeout=_GOODBYE)
        except subprocess.TimeoutExpired:
            return "closed its standard output"
        if status < 0:
            return f"was ended by {signal_name(-status)}"
        last = self._last_line()
        return f"exited with status {status}" + (f": {last}" if last else "")

    def _last_line(self) -> str:
        size = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip()
        return _printable("".join(text.splitlines()[-1:]))[:200]

    def _limit_memory(self) -> None:
        if self._limits.memory_bytes is None or sys.platform != "linux":
            return
        import resource  # noqa: PLC0415 - exists on POSIX only

        assert self._process is not None
        with contextlib.suppress(OSError):  # it has ended already: its hello will say so
            limit = (self._limits.memory_bytes, self._limits.memory_bytes)
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, limit)

    def _stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process = None


class _OutOfStepError(Exception):
    """An answer that is none: what follows in the pipe cannot be told apart from later answers."""


def call_request(
    number: int, technique_id: str, case: Case, gradient_of: Sequence[str], *, signature: Signature, floats: str
) -> dict[str, Any]:
    """The request for one case: only what the program takes."""
    keys = {argument.name for argument in technique(technique_id).arguments if argument.is_key}
    sent = {n: values for n, values in case.arguments.items() if signature.takes_keys or n not in keys}
    return {
        "type": "call",
        "id": number,
        "technique": technique_id,
        "dtype": case.dtype,
        "arguments": {name: encode_array(values, floats) for name, values in sent.items()},
        "options": {n: encode_option(value, floats) for n, value in accepted_options(case, signature).items()},
        "gradient_of": list(gradient_of),
        "cotangent": None if case.cotangent is None else encode_array(case.cotangent, floats),
    }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _array(document: Mapping[str, Any], case: Case) -> tuple[Array, str]:
    values = decode_array({name: value for name, value in document.items() if name != "dtype"})
    return values, str(document.get("dtype", case.dtype if values.dtype.kind == "f" else values.dtype.name))


def _object(line: bytes) -> dict[str, Any]:
    shown = _printable(line[:60].decode(errors="replace"))
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _OutOfStepError(f"answered a line that is not JSON: {shown}") from error
    if not isinstance(document, dict):
        raise _OutOfStepError(f"answered a line that is not a JSON object: {shown}")
    return document
