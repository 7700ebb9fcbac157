"""A candidate in a process of its own, so that whatever it does, the run goes on.

A hang, a crash, an exit, memory without end or output without end ends the worker, not the suite: the call
raises `CandidateLost` and the next one starts a fresh worker.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from steelyard.conformance.candidates import (
    Answer,
    CandidateError,
    CandidateLost,
    Description,
    LoadError,
    NoGradientError,
)
from steelyard.conformance.contract import Case
from steelyard.conformance.loading import Target
from steelyard.conformance.messages import receive, send

_LOOK = 0.1  # seconds between two looks at a silent worker
_GOODBYE = 5.0  # seconds that a worker may take to end after it has hung up


@dataclass(frozen=True)
class Limits:
    """What a candidate may use."""

    call_seconds: float = 20.0
    load_seconds: float = 120.0
    memory_bytes: int | None = 8 * 2**30
    output_bytes: int = 16 * 2**20


class IsolatedCandidate:
    """Talks to a worker process; starts it when needed and ends it when it misbehaves."""

    def __init__(self, target: Target, *, device: str = "cpu", limits: Limits | None = None) -> None:
        if not hasattr(os, "fork"):
            raise LoadError("isolation: this system cannot pass a socket to a child; say --no-isolation")
        self._target = target
        self._device = device
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the candidate
        self.differentiates = False
        try:
            self.description = self._start()
        except LoadError:
            self._output.close()
            raise

    def evaluate(self, technique: str, case: Case, gradient_of: Sequence[str] = ()) -> Answer:
        """Call the candidate's function in the worker."""
        # arrays of a contract may be read-only views of larger ones: pickle sends only what they show
        kind, payload = self._ask(("evaluate", technique, case, tuple(gradient_of)))
        if kind == "raised":
            raise CandidateError(payload)
        if kind == "no gradient":
            raise NoGradientError(payload)
        answer: Answer = payload
        return answer

    def tampering(self) -> str:
        """What the candidate changed outside itself; also empties the record of its output."""
        if self._process is None:
            return ""
        _, text = self._ask(("tampering",))
        self._output.seek(0)
        self._output.truncate()
        return str(text)

    def close(self) -> None:
        """End the worker."""
        self._stop()
        self._output.close()

    def _start(self) -> Description:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "steelyard.conformance.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        self._connection = Connection(ours.detach())
        self._ready = select.poll()
        self._ready.register(self._connection.fileno(), select.POLLIN)
        try:
            send(self._connection, (self._target, self._device, self._limits.memory_bytes))
            message = self._receive(self._limits.load_seconds)
        except (CandidateLost, ConnectionError) as error:
            self._stop()
            raise LoadError(f"{self._target.text}: while loading, the candidate {error}") from error
        if message[0] == "load error":
            self._stop()
            raise LoadError(message[1])
        self.differentiates = bool(message[2])
        description: Description = message[1]
        return description

    def _ask(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        if self._process is None:
            try:
                self._start()
            except LoadError as error:
                raise CandidateLost(f"did not load again: {error}") from error
        assert self._connection is not None
        try:
            send(self._connection, request)
            kind, payload = self._receive(self._limits.call_seconds)
        except CandidateLost:
            self._stop()
            raise
        except ConnectionError as error:
            how = self._how_it_ended()
            self._stop()
            raise CandidateLost(how) from error
        return kind, payload

    def _receive(self, seconds: float) -> tuple[Any, ...]:
        assert self._connection is not None
        deadline = time.monotonic() + seconds
        try:
            while not self._ready.poll(_LOOK * 1000):
                if os.fstat(self._output.fileno()).st_size > self._limits.output_bytes:
                    raise CandidateLost(f"printed more than {self._limits.output_bytes // 2**20} MiB")
                if time.monotonic() > deadline:
                    raise CandidateLost(f"did not answer within {seconds:g} s")
            message = receive(self._connection)
        except EOFError as error:
            raise CandidateLost(self._how_it_ended()) from error
        return message

    def _how_it_ended(self) -> str:
        status = self._exit_status()
        if status is None:
            return "closed its connection to the suite"
        if status < 0:
            return f"was ended by {signal_name(-status)}"
        last = self._last_line()
        return f"exited with status {status}" + (f": {last}" if status == 1 and last else "")

    def _exit_status(self) -> int | None:
        """As of `subprocess`: negative for a signal; None if the worker still runs after a while."""
        assert self._process is not None
        deadline = time.monotonic() + _GOODBYE
        while time.monotonic() < deadline:
            if not hasattr(os, "waitid"):  # macOS before Python 3.13
                status = self._process.poll()
                if status is not None:
                    return status
            # not reaped: until `_stop` has ended its group, the number must not pass to another process
            elif (ended := os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            time.sleep(0.01)
        return None

    def _last_line(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip()
        return text.splitlines()[-1] if text else ""

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._connection = self._process = None
        self._output.seek(0)
        self._output.truncate()


def signal_name(number: int) -> str:
    """SIGSEGV and the like; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
