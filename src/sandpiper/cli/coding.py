"""`sandpiper create` and `sandpiper join`: the chat, in a private room that a code leads into."""

from __future__ import annotations

import os
import sys

import click

from sandpiper.cli.options import Options, chatting, everywhere, network, pass_options, together
from sandpiper.cli.start import can_ask, chat, is_terminal

MAX_CODE_BYTES = 200  # of a line that holds one: a code has some 20
MAX_SECRET_CHARS = 4096  # of a line that holds one: four times the longest that can be right

_password = together(
    click.option("--password", "ask", is_flag=True, help="The room has a password besides the code; it is asked for."),
    click.option("--password-file", metavar="FILE", default="", help="The password is the first line of FILE."),
)


def _words(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What a begun code can go on with. The words are the same for everybody, and what is typed goes nowhere."""
    from sandpiper.crypto.codes import complete

    return list(complete(incomplete))


@click.command()
@click.argument("name", default="")
@_password
@click.option(
    "--history", metavar="HOW", default="all", help="What newcomers get of what was said before: all, none, 100, 7d."
)
@chatting
@network
@everywhere
@pass_options
def create(options: Options, name: str, ask: bool, password_file: str, history: str) -> int:
    """Make a private room called NAME, print its code, and chat there.

    Whoever knows the code comes in with: sandpiper join CODE. It is found on this network, and through the relays of
    --relay (or the setting relay) from everywhere. A password never stands on the command line: --password asks for
    it, or it comes from --password-file or SANDPIPER_ROOM_PASSWORD.
    """
    from sandpiper.core.floor import check_policy
    from sandpiper.faces.settings import Entering, Secret
    from sandpiper.wire.text import check_room_name

    history = check_policy(history)
    if name:
        name = check_room_name(name)  # what is wrong with it is said before anything begins
    password = room_password(options, password_file, ask=ask, confirm=True)
    return chat(options, entering=Entering(create=name, history=history, password=Secret(password)))


@click.command()
@click.argument("code", default="", shell_complete=_words)
@_password
@chatting
@network
@everywhere
@pass_options
def join(options: Options, code: str, ask: bool, password_file: str) -> int:
    """Come into the private room of CODE, as pine-ocean-42, and chat there.

    Without CODE (or with -) it is asked for, or read from the first line of the input, so that it stands in no list of
    processes. Where the room has a password, say --password, --password-file or SANDPIPER_ROOM_PASSWORD.
    """
    from sandpiper.crypto.codes import BadCode, parse_code, suggest
    from sandpiper.faces.invitation import read
    from sandpiper.faces.settings import Entering, Secret
    from sandpiper.wire.admission import NotAdmitted

    invitation = read(code if code not in ("", "-") else _asked_code(options))
    if invitation.relays:
        options.settings.setdefault("relay", invitation.relays)
    try:
        parse_code(invitation.code)
    except BadCode:
        if (meant := suggest(invitation.code)) and can_ask(options):
            click.echo(meant, err=True)  # for the eyes of whoever typed it; the error has no words in it
        raise
    password = room_password(options, password_file, ask=ask, confirm=False)
    entering = Entering(code=Secret(invitation.code), password=Secret(password))
    try:
        return chat(options, entering=entering)
    except NotAdmitted as exc:  # line mode: the whole screen asks by itself
        if exc.code != "password_needed" or not can_ask(options):
            raise
    password = room_password(options, "", ask=True, confirm=False)
    return chat(options, entering=Entering(code=entering.code, password=Secret(password)))


def _asked_code(options: Options) -> str:
    """The code, from the person or from the first line of the input; nothing behind it is read.

    Raises:
        click.Abort: the person would rather not.
    """
    if can_ask(options):
        from sandpiper.faces.codeprompt import ask_code

        typed = ask_code()
        if typed is None:
            raise click.Abort
        return typed
    if is_terminal(sys.stdin):
        raise click.UsageError("There is no CODE.")
    return piped_code()


def piped_code() -> str:
    """The code on the first line of the input; nothing behind it is read."""
    line = b""
    while len(line) < MAX_CODE_BYTES and (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8", "replace").strip()


def room_password(options: Options, path: str, *, ask: bool, confirm: bool) -> str:
    """The room's password, if it is to have one or has one.

    Raises:
        ConfigError: the file cannot be read.
        UsageError: nobody is there to be asked.
    """
    from sandpiper.errors import UsageError

    if path:
        return first_line(path, "password")
    if password := os.environ.get("SANDPIPER_ROOM_PASSWORD", ""):
        return password
    if not ask:
        return ""
    if not can_ask(options):
        raise UsageError(
            "Nobody is there to be asked for the password.",
            hint="Give it with --password-file or SANDPIPER_ROOM_PASSWORD.",
        )
    typed: str = click.prompt("Password of the room", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed


def first_line(path: str, what: str) -> str:
    """The secret (`what` it is) on the first line of a file.

    Raises:
        ConfigError: the file cannot be read, or that line is empty.
    """
    from sandpiper.errors import ConfigError

    try:
        with open(path, encoding="utf-8") as file:
            secret = file.readline(MAX_SECRET_CHARS).rstrip("\r\n")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"The {what} file {path} cannot be read ({exc}).", hint="Check its name.") from exc
    if not secret:
        raise ConfigError(f"The first line of {path} is empty.", hint=f"Write the {what} there.")
    return secret
