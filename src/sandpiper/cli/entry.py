"""The way in and out of every command: whatever goes wrong becomes one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from sandpiper.cli.options import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, EnoughRead, Unwritable, flush

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def run(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run a command and turn whatever goes wrong into one sentence and an exit code."""
    try:
        return _run(command, name, arguments)
    finally:
        if sys.stderr is not None and not _flushed(sys.stderr):  # the terminal is closed
            _drop(sys.stderr)


def _run(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    fail = _Failure(name, as_json="--json" in arguments)
    try:
        try:
            code: object = command.main(list(arguments), prog_name=name, standalone_mode=False)
            flush()
        except click.UsageError as exc:
            usage = exc.ctx.get_usage() if exc.ctx is not None else ""
            hint = f"Try: {exc.ctx.command_path if exc.ctx is not None else name} --help"
            return fail("usage", exc.format_message(), hint, EXIT_USAGE, usage)
        except click.ClickException as exc:
            return fail("failed", exc.format_message(), "", EXIT_FAILED)
        except (click.Abort, KeyboardInterrupt):
            return EXIT_INTERRUPTED
    except (BrokenPipeError, EnoughRead):
        _drop(sys.stdout)
        return EXIT_OK
    except Unwritable as exc:
        _drop(sys.stdout)
        return fail("output", str(exc), "Make room, or write it elsewhere.", EXIT_FAILED)
    except Exception as exc:
        from sandpiper.errors import SandpiperError

        if isinstance(exc, SandpiperError):
            return fail(exc.code, str(exc), exc.hint, exc.exit_code)
        import logging

        logging.getLogger(__name__).critical("a mistake of ours", exc_info=exc)
        if "--debug" in arguments:
            raise
        text = f"This is a mistake in Sandpiper: {type(exc).__name__}: {exc}."
        return fail("bug", text, "The log file says more; so does --debug.", EXIT_FAILED)
    return code if isinstance(code, int) else EXIT_OK


def _flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _drop(stream: TextIO) -> None:
    """What is still buffered goes nowhere, and Python does not stumble over it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Failure:
    """Tells why a command ends early."""

    def __init__(self, program: str, *, as_json: bool) -> None:
        self._program = program
        self._as_json = as_json

    def __call__(self, code: str, text: str, hint: str, exit_code: int, usage: str = "") -> int:
        """The exit code, once it is told."""
        if self._as_json:
            from sandpiper.faces.events import Error, encode

            click.echo(encode(Error(code=code, text=text, hint=hint)), nl=False)
            return exit_code
        if usage:
            click.echo(usage, err=True)
        click.echo(f"{self._program}: {text} {hint}".rstrip(), err=True)
        return exit_code
