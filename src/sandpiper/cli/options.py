"""What all commands share: options that may stand before or after a subcommand, and writing data."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.config import Loaded, Paths

    class Decorator(Protocol):
        """Adds an option to a command."""

        def __call__(self, command: Decorated, /) -> Decorated:
            """The command with the option."""
            ...


EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_UNTRUSTED, EXIT_INTERRUPTED = 0, 1, 2, 5, 130

Decorated = TypeVar("Decorated", bound="Callable[..., object] | click.Command")


class EnoughRead(Exception):
    """Whoever reads our output has closed it, as `head` does. No failure of ours."""


class Unwritable(Exception):
    """Our output goes where nothing can be written, to a full disk for example."""


class Options:
    """What was said on the command line, before or after the subcommand; the later one holds."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.switches: set[str] = set()

    @property
    def json(self) -> bool:
        """Objects instead of text."""
        return "json" in self.switches

    def load(self) -> tuple[Paths, Loaded]:
        """Directories and settings; what is odd about them is told.

        Raises:
            ConfigError: some value is wrong.
        """
        from sandpiper import config

        paths = config.Paths.find()
        loaded = config.load(paths, self.settings)
        for warning in loaded.warnings:
            self.narrate(warning)
        return paths, loaded

    def narrate(self, text: str) -> None:
        """A line that is no data."""
        if "quiet" not in self.switches:
            click.echo(text, err=True)


pass_options = click.make_pass_decorator(Options, ensure=True)


def setting(*declarations: str, help: str, metavar: str, multiple: bool = False) -> Decorator:
    """An option that overrides a setting. Values are checked with all other settings, not here."""

    def note(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value is not None and value != ():
            context.ensure_object(Options).settings[str(parameter.name)] = value

    return click.option(*declarations, metavar=metavar, multiple=multiple, help=help, expose_value=False, callback=note)


def yes_or_no(declaration: str, *, help: str) -> Decorator:
    """An option that overrides a setting that is true or false, as `--qr/--no-qr`."""

    def note(context: click.Context, parameter: click.Parameter, value: bool | None) -> None:
        if value is not None:
            context.ensure_object(Options).settings[str(parameter.name)] = value

    return click.option(declaration, default=None, help=help, expose_value=False, callback=note)


def switch(*declarations: str, help: str) -> Decorator:
    """An option without a value."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Options).switches.add(str(parameter.name))

    return click.option(*declarations, is_flag=True, help=help, expose_value=False, callback=note)


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator."""

    def decorate(command: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


everywhere = together(
    setting("--nick", "--username", "nick", metavar="NAME", help="What others call you."),
    setting("--profile", metavar="NAME", help="Identity, history and settings; by default those of the nick."),
    switch("--plain", help="Lines of text instead of the whole screen."),
    switch("--json", help="One JSON object a line on stdout."),
    switch("--debug", help="Tell on stderr what happens inside, and log more."),
    switch("--quiet", "-q", "quiet", help="Only messages and errors."),
    switch("--no-input", help="Never ask anything."),
)
network = together(
    setting("--multicast", metavar="ADDR:PORT", help="Group that finds peers on the LAN."),
    setting("--interface", "interfaces", metavar="NAME", multiple=True, help="Network interface to use; repeatable."),
)
reaching = together(
    setting("--port", metavar="PORT", help="TCP port to listen on."),
    setting("--peer", "peers", metavar="HOST:PORT", multiple=True, help="Link to this address; repeatable."),
    setting("--compat", metavar="DIALECT", help="Speak an old dialect too: p2pchat."),
)
meeting = setting(
    "--relay",
    "relay",
    metavar="HOST[:PORT]",
    multiple=True,
    help="Relay where private rooms meet across networks; repeatable.",
)
relayed = together(
    meeting,
    switch("--no-multicast", help="Neither look for peers on the LAN nor be found there."),
)
chatting = together(
    setting("--room", metavar="NAME", help="Open room to start in."),
    reaching,
    setting("--linger", metavar="SECONDS", help="How long to wait for delivery at the end of input."),
    relayed,
    yes_or_no("--qr/--no-qr", help="Show codes as QR codes, too (on a terminal only)."),
)


def put(text: str) -> None:
    """Data, whatever the locale can write."""
    if sys.stdout is None:
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    except OSError as exc:  # click would make a failure of a broken pipe
        raise _unwritten(exc) from exc


def _unwritten(exc: OSError) -> Exception:
    """A reader that has gone (a closed terminal gives EIO) has read enough; anything else is a failure."""
    if isinstance(exc, BrokenPipeError) or exc.errno == errno.EIO:
        return EnoughRead()
    return Unwritable(f"The output could not be written: {exc.strerror or exc}.")


def flush() -> None:
    """Have what was written really written, and hear of it when that fails."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as exc:
            raise _unwritten(exc) from exc
