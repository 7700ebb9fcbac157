"""Messages between the suite and a candidate's process: plain pickles.

`Connection.send` looks up every object in a table that serves sharing of handles, which takes as long as a call of a
small function; nothing is shared here.
"""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection
from typing import Any


def send(connection: Connection[Any, Any], message: tuple[Any, ...]) -> None:
    """Send a message."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection[Any, Any]) -> tuple[Any, ...]:
    """Wait for a message; raises `EOFError` if the other side has hung up."""
    message: tuple[Any, ...] = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own worker
    return message
