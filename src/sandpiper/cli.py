"""The commands, and the only place where the parts are put together. Nothing heavy is imported before it is needed.

Data goes to stdout, narration to stderr. Exit codes: 0 ok (also after SIGTERM or a closed terminal, which say
goodbye), 1 failure, 2 usage, 3 network or no peer, 4 wrong passphrase, 5 key changed or verification failed,
6 timeout, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

import click

from sandpiper import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandpiper.config import Loaded, Paths
    from sandpiper.store.profile import Profile

    class Decorator(Protocol):
        """Adds an option to a command."""

        def __call__(self, command: Decorated, /) -> Decorated:
            """The command with the option."""
            ...


EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
SCREENFUL = 100  # messages that `history` shows on a terminal when no number is given

Decorated = TypeVar("Decorated", bound="Callable[..., object] | click.Command")


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


def _setting(*declarations: str, help: str, metavar: str, multiple: bool = False) -> Decorator:
    """An option that overrides a setting. Values are checked with all other settings, not here."""

    def note(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value is not None and value != ():
            context.ensure_object(Options).settings[str(parameter.name)] = value

    return click.option(*declarations, metavar=metavar, multiple=multiple, help=help, expose_value=False, callback=note)


def _switch(*declarations: str, help: str) -> Decorator:
    """An option without a value."""

    def note(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Options).switches.add(str(parameter.name))

    return click.option(*declarations, is_flag=True, help=help, expose_value=False, callback=note)


def _all(*decorators: Decorator) -> Decorator:
    def decorate(command: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


everywhere = _all(
    _setting("--nick", "--username", "nick", metavar="NAME", help="What others call you."),
    _setting("--profile", metavar="NAME", help="Identity, history and settings; by default those of the nick."),
    _switch("--plain", help="Lines of text, no full-screen interface."),
    _switch("--json", help="One JSON object a line on stdout."),
    _switch("--debug", help="Tell on stderr what happens inside, and log more."),
    _switch("--quiet", "-q", "quiet", help="Only messages and errors."),
    _switch("--no-input", help="Never ask anything."),
)
network = _all(
    _setting("--multicast", metavar="ADDR:PORT", help="Group that finds peers on the LAN."),
    _setting("--interface", "interfaces", metavar="NAME", multiple=True, help="Network interface to use; repeatable."),
)
chat = _all(
    _setting("--room", metavar="NAME", help="Open room to start in."),
    _setting("--port", metavar="PORT", help="TCP port to listen on."),
    _setting("--peer", "peers", metavar="HOST:PORT", multiple=True, help="Link to this address; repeatable."),
    _setting("--compat", metavar="DIALECT", help="Speak an old dialect too: p2pchat."),
    _setting("--linger", metavar="SECONDS", help="How long to wait for delivery at the end of input."),
    _switch("--no-multicast", help="Neither look for peers on the LAN nor be found there."),
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sandpiper %(version)s")
@chat
@network
@everywhere
@click.pass_context
def sandpiper(context: click.Context) -> int:
    """Chat with everybody on this network: no set-up, no account, no server."""
    return EXIT_OK if context.invoked_subcommand is not None else _chat(context.ensure_object(Options))


def _chat(options: Options) -> int:
    import asyncio

    from sandpiper.faces import line, logs
    from sandpiper.faces.settings import LineSettings, node_settings

    paths, loaded = options.load()
    settings, switches = loaded.settings, options.switches
    narrator, problem = logs.start(paths, debug="debug" in switches)
    if problem:
        options.narrate(problem)
    prompt = not options.json and not _is_dumb() and _is_terminal(sys.stdin) and _is_terminal(sys.stdout)
    chosen = LineSettings(
        room=settings.room,
        json=options.json,
        prompt=prompt,
        coloured=not options.json and _is_coloured(settings.colour),
        quiet="quiet" in switches,
        linger=settings.linger,
        history_lines=settings.history_lines,
    )
    network_settings = node_settings(settings, multicast="no_multicast" not in switches)
    with _open_profile(paths, loaded, ask=prompt and "no_input" not in switches) as profile:
        return asyncio.run(line.run(profile, network_settings, chosen, narrator))


def _open_profile(paths: Paths, loaded: Loaded, *, ask: bool) -> Profile:
    """Open the profile that the settings mean; at the very first start, offer a nick."""
    from sandpiper.faces.archive import chosen_profile
    from sandpiper.store.profile import open_profile, suggest_nick

    settings = loaded.settings
    nick, name = settings.nick or None, chosen_profile(settings, paths)
    if name is None:
        name = nick = _ask_nick(suggest_nick()) if ask else suggest_nick()
    return open_profile(paths, name, nick=nick, passphrase=_ask_passphrase if ask else None, keyring=settings.keyring)


def _ask_nick(suggested: str) -> str:
    from sandpiper.errors import UsageError
    from sandpiper.wire.text import check_nick

    while True:
        typed: str = click.prompt("Your nickname", default=suggested, err=True)
        try:
            return check_nick(typed)
        except UsageError as exc:
            click.echo(exc.sentence(), err=True)


def _ask_passphrase(prompt: str) -> str:
    import getpass

    return getpass.getpass(prompt)


def _is_terminal(file: TextIO | None) -> bool:
    try:
        return file is not None and file.isatty()
    except ValueError:  # it is closed
        return False


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _is_coloured(wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "always"
    return _is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and not _is_dumb()


# ---------------------------------------------------------------------------- looking things up


@sandpiper.command()
@click.argument("room", required=False)
@click.option("--search", "words", metavar="WORDS", default="", help="Only messages with all these words.")
@click.option(
    "--since", metavar="WHEN", help="Only messages from then on: 2h, 3d, today, 2026-11-21, 2026-11-21T10:30."
)
@click.option("--until", metavar="WHEN", help="Only messages before then.")
@click.option("--limit", type=click.IntRange(0), metavar="N", help="The newest N of each room; 0: all.")
@click.option("--export", "file", metavar="FILE", help="Write to a file, whole or not at all.")
@click.option("--format", "form", type=click.Choice(["jsonl", "md", "text"]), help="By default from the file's name.")
@everywhere
@pass_options
def history(
    options: Options,
    room: str | None,
    words: str,
    since: str | None,
    until: str | None,
    limit: int | None,
    file: str | None,
    form: str | None,
) -> int:
    """Print or export the messages of ROOM (#general, @bob), or of all rooms."""
    from pathlib import Path

    from sandpiper.faces import archive, export

    paths, loaded = options.load()
    cut = limit is None and file is None and not options.json and _is_terminal(sys.stdout)
    since_ms, until_ms = (archive.parse_time(text) if text else None for text in (since, until))
    with archive.Archive(archive.profile_directory(loaded.settings, paths)) as kept:
        found = kept.messages(
            kept.find_room(room).room if room else None,
            words=words,
            since_ms=since_ms or 0,
            until_ms=until_ms,
            limit=SCREENFUL if cut else limit or 0,
        )
        lines = export.lines_of(found, "jsonl" if options.json and not form else export.format_for(file or "", form))
        if file is not None:
            count = export.write_whole_lines(Path(file), lines)
            options.narrate(f"{count:,} lines written to {file}")
            return EXIT_OK
        printed = 0
        for text in lines:
            printed += 1
            _print(text)
    if cut and printed >= SCREENFUL:
        options.narrate(f"The newest {SCREENFUL} of each room; all of them: --limit 0")
    return EXIT_OK


@sandpiper.command()
@everywhere
@pass_options
def rooms(options: Options) -> int:
    """List the rooms that you were ever in."""
    from sandpiper.faces import archive

    paths, loaded = options.load()
    with archive.Archive(archive.profile_directory(loaded.settings, paths)) as kept:
        for text in archive.room_lines(kept, as_json=options.json):
            _print(text)
    return EXIT_OK


@sandpiper.command()
@click.option("--wait", type=click.FloatRange(0, 60), default=1.0, metavar="SECONDS", help="Listen for so long.")
@network
@everywhere
@pass_options
def peers(options: Options, wait: float) -> int:
    """List who is on this network now, and everybody you ever met."""
    from sandpiper.faces import nearby

    paths, loaded = options.load()
    for text in nearby.peer_lines(loaded.settings, paths, wait, as_json=options.json):
        _print(text)
    return EXIT_OK


@sandpiper.command()
@click.option("--wait", type=click.FloatRange(0, 600), metavar="SECONDS", help="Listen for at least so long.")
@network
@everywhere
@pass_options
def doctor(options: Options, wait: float | None) -> int:
    """Find out what keeps peers from meeting on this network, and how to mend it."""
    from sandpiper.faces.doctor import run

    paths, loaded = options.load()
    return run(loaded.settings, paths, options.json, wait=wait)


@sandpiper.group(invoke_without_command=True)
@everywhere
@click.pass_context
def config(context: click.Context) -> int:
    """Show or change settings."""
    return EXIT_OK if context.invoked_subcommand is not None else _settings(context.ensure_object(Options), None)


@config.command("list")
@everywhere
@pass_options
def config_list(options: Options) -> int:
    """List all settings, their values, and where those come from."""
    return _settings(options, None)


@config.command("get")
@click.argument("name")
@everywhere
@pass_options
def config_get(options: Options, name: str) -> int:
    """Print the value of one setting."""
    return _settings(options, name)


@config.command("set")
@click.argument("name")
@click.argument("value")
@everywhere
@pass_options
def config_set(options: Options, name: str, value: str) -> int:
    """Write a setting into config.toml."""
    from sandpiper.config import Paths, set_value

    paths = Paths.find()
    set_value(paths, name, value)
    options.narrate(f"Written to {paths.config_file}")
    return EXIT_OK


@config.command("path")
@everywhere
@pass_options
def config_path(options: Options) -> int:
    """Print where config.toml is, or would be."""
    from sandpiper.config import Paths

    where = str(Paths.find().config_file)
    if options.json:
        from sandpiper.faces.events import Notice, encode

        where = encode(Notice(code="path", text=where))
    _print(where.rstrip("\n") + "\n")
    return EXIT_OK


def _settings(options: Options, name: str | None) -> int:
    from sandpiper.faces import archive

    _, loaded = options.load()
    for text in archive.setting_lines(loaded, name, as_json=options.json):
        _print(text)
    return EXIT_OK


@sandpiper.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@everywhere
def completion(shell: str) -> int:
    """Print the script with which SHELL completes sandpiper's commands and options.

    For example, in ~/.bashrc:  eval "$(sandpiper completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        _print(kind(sandpiper, {}, "sandpiper", "_SANDPIPER_COMPLETE").source() + "\n")
    return EXIT_OK


def _print(text: str) -> None:
    """Data, whatever the locale can write."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


# ---------------------------------------------------------------------------- the old spelling


@click.command(context_settings={"help_option_names": ["-help", "--help", "-h"]})
@_setting("-username", "--username", "nick", metavar="NAME", help="What others call you.")
@_setting("-port", "--port", metavar="PORT", help="TCP port to listen on.")
@_setting("-multicast", "--multicast", metavar="ADDR:PORT", help="Group that finds peers on the LAN.")
@_switch("-debug", "--debug", help="Tell on stderr what happens inside.")
@_switch("--plain", help="Lines of text, no full-screen interface.")
@_switch("--json", help="One JSON object a line on stdout.")
@_switch("--quiet", help="Only messages and errors.")
@_switch("--no-input", help="Never ask anything.")
@pass_options
def p2pchat(options: Options) -> int:
    """Sandpiper under its founding name: chat on this network, also with the old program."""
    options.settings.setdefault("compat", "p2pchat")
    return _chat(options)


def _go_style(arguments: Sequence[str]) -> list[str]:
    """Go's way with switches: `-debug=true` is `-debug`, and `-debug=false` is nothing."""
    out: list[str] = []
    for argument in arguments:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and equals and name in ("debug", "help"):
            if value.lower() in ("1", "t", "true"):
                out.append(f"-{name}")
        else:
            out.append(argument)
    return out


# ---------------------------------------------------------------------------- the way in and out


def main(arguments: Sequence[str] | None = None) -> int:
    """`sandpiper`; the exit code."""
    return _run(sandpiper, "sandpiper", sys.argv[1:] if arguments is None else arguments)


def p2pchat_main(arguments: Sequence[str] | None = None) -> int:
    """`p2pchat`; the exit code."""
    return _run(p2pchat, "p2pchat", _go_style(sys.argv[1:] if arguments is None else arguments))


def _run(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run a command and turn whatever goes wrong into one sentence and an exit code."""
    as_json = "--json" in arguments
    try:
        try:
            code: object = command.main(list(arguments), prog_name=name, standalone_mode=False)
            sys.stdout.flush()
        except click.UsageError as exc:
            usage = exc.ctx.get_usage() if exc.ctx is not None else ""
            hint = f"Try '{exc.ctx.command_path} --help'." if exc.ctx is not None else ""
            return _fail(as_json, "usage", exc.format_message(), hint, exc.exit_code, before=usage)
        except click.ClickException as exc:
            return _fail(as_json, "failed", exc.format_message(), "", exc.exit_code)
        except (click.Abort, KeyboardInterrupt):
            return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read us has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as exc:
        from sandpiper.errors import SandpiperError

        if isinstance(exc, SandpiperError):
            return _fail(as_json, exc.code, str(exc), exc.hint, exc.exit_code)
        import logging

        logging.getLogger(__name__).critical("a mistake of ours", exc_info=exc)
        if "--debug" in arguments or "-debug" in arguments:
            raise
        text = f"This is a mistake in Sandpiper: {type(exc).__name__}: {exc}."
        return _fail(as_json, "bug", text, "Its log file says more; --debug shows it here.", EXIT_FAILED)
    return code if isinstance(code, int) else EXIT_OK


def _fail(as_json: bool, code: str, text: str, hint: str, exit_code: int, *, before: str = "") -> int:
    if as_json:
        from sandpiper.faces.events import Error, encode

        sys.stdout.write(encode(Error(code=code, text=text, hint=hint)))
        sys.stdout.flush()
    else:
        if before:
            click.echo(before, err=True)
        click.echo(f"sandpiper: {text} {hint}".rstrip(), err=True)
    return exit_code
