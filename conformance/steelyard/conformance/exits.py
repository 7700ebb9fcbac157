"""Exit statuses of the command line, and our own errors as one line: a user never meets a traceback of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from steelyard.conformance.candidates import LoadError
from steelyard.conformance.cases import CaseError
from steelyard.conformance.doors import UsageError
from steelyard.conformance.known_failures import KnownFailuresError
from steelyard.conformance.registry import UnknownTechniqueError
from steelyard.conformance.resuming import ResumeError

EXIT_OK, EXIT_DEVIATES, EXIT_USAGE, EXIT_LOAD, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


@contextmanager
def clear_errors() -> Iterator[None]:
    """Our own errors as one line and an exit status."""
    try:
        yield
    except (UsageError, UnknownTechniqueError, KnownFailuresError, CaseError, ResumeError) as error:
        typer.secho(f"steelyard: {error}", err=True, fg="red")
        raise typer.Exit(EXIT_USAGE) from error
    except LoadError as error:
        typer.secho(f"steelyard: {error}", err=True, fg="red")
        raise typer.Exit(EXIT_LOAD) from error
    except OSError as error:
        typer.secho(f"steelyard: {error.filename}: {error.strerror}", err=True, fg="red")
        raise typer.Exit(EXIT_USAGE) from error
