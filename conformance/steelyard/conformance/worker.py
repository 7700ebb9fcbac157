"""The candidate's process: `python -m steelyard.conformance.worker FD`, started by `isolation` and by nobody else.

Messages are pickled tuples over a socket that the parent opened. Standard output and error belong to the
candidate and go to a file that the parent watches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from steelyard.conformance.candidates import CandidateError, LoadError, NoGradientError
from steelyard.conformance.host import Host
from steelyard.conformance.messages import receive, send

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Load the target named in the first message, then answer until the parent hangs up."""
    _die_with_the_parent()
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    target, device, memory_limit = receive(connection)
    _limit_memory(memory_limit)
    try:
        host = Host(target, device=device)
        _use_one_thread()
    except LoadError as error:
        send(connection, ("load error", str(error)))
        return
    send(connection, ("loaded", host.description, host.differentiates))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            send(connection, _reply(host, receive(connection)))


def _reply(host: Host, request: tuple[Any, ...]) -> tuple[Any, ...]:
    if request[0] == "tampering":
        return ("ok", host.tampering())
    try:
        return ("ok", host.evaluate(*request[1:]))
    except CandidateError as error:
        return ("raised", str(error))
    except NoGradientError as error:
        return ("no gradient", str(error))
    except KeyboardInterrupt:  # its own: the worker hears none of the terminal's
        return ("raised", "raised KeyboardInterrupt")


def _die_with_the_parent() -> None:
    """So that a candidate that hangs does not outlive a suite that was killed."""
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415

    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(limit: int | None) -> None:
    """So that a candidate that eats memory fails by itself before the machine does."""
    if limit is None or sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 - exists on POSIX only

    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _use_one_thread() -> None:
    """One thread sums in one order: the same verdict on any number of cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    main()
