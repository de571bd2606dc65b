"""The one table of commands that every face offers, and how a typed line becomes one of them.

A line is a command when it begins with a slash, and a message otherwise; `//` begins a message with a slash. An
unknown command is never sent as text.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Struct

from sandpiper.errors import UsageError
from sandpiper.faces import company, incode, onhubs, places, talking, verifying
from sandpiper.faces.context import Arguments, Context
from sandpiper.faces.spans import Span, dim, line
from sandpiper.faces.targets import is_target
from sandpiper.wire.text import clean_line

Kind = Literal[
    "text", "word", "room", "nick", "message", "count", "address", "emoji", "command", "answer", "time", "lock"
]
"""What a parameter is: `text` takes the rest of the line, all others one word; completion goes by it. An `answer` is
yes or no, a `time` like 10m, a `lock` the word that asks for a password."""

Handler = Callable[[Context, Arguments], Awaitable[None]]


class Parameter(Struct, frozen=True):
    """One parameter of a command. An optional one may be left out; an optional `message`, `count` or `time` that is
    not the last is taken only if the word looks like one.
    """

    name: str
    kind: Kind
    optional: bool = False


class Command(Struct, frozen=True):
    """A row of the table."""

    name: str
    help: str
    run: Handler
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """How to type it, as `/msg NICK [TEXT]`."""
        words = [f"[{p.name.upper()}]" if p.optional else p.name.upper() for p in self.parameters]
        return " ".join((f"/{self.name}", *words))


def _one(name: str, kind: Kind) -> Parameter:
    return Parameter(name, kind)


def _maybe(name: str, kind: Kind) -> Parameter:
    return Parameter(name, kind, optional=True)


async def help_(context: Context, arguments: Arguments) -> None:
    """/help: all commands, or one."""
    wanted = arguments.get("command").removeprefix("/")
    if wanted:
        command = find(wanted)
        lines = [line(Span(command.usage, "bold")), line(f"  {command.help}")]
        if command.aliases:
            lines.append(line(dim(f"  also: {' '.join('/' + alias for alias in command.aliases)}")))
        if any(parameter.kind == "message" for parameter in command.parameters):
            lines.append(
                line(dim("  MESSAGE: ^ the last, ^2 the one before, @nick their last, or an id from /history"))
            )
        context.face.reply("help", lines)
        return
    width = max(len(command.usage) for command in COMMANDS)
    lines = [
        line("  ", Span(command.usage), dim(f"{'':{width - len(command.usage) + 2}}{command.help}"))
        for command in COMMANDS
    ]
    lines.append(line(dim("Anything else is a message to the current room; // begins one with a slash.")))
    context.face.reply("help", lines)


COMMANDS: tuple[Command, ...] = (
    Command("help", "list the commands, or explain one", help_, (_maybe("command", "command"),), ("h", "?")),
    Command(
        "join",
        "enter a room, or go to one that you are in; #room@host is on a hub, and the word password asks for one; "
        "a code as pine-ocean-42 leads into a private room",
        places.join,
        (_one("room", "room"), _maybe("password", "lock")),
        ("j",),
    ),
    Command(
        "create",
        "make a private room, and a code with which others join it",
        incode.create,
        (_maybe("name", "word"),),
    ),
    Command("invite", "make another code for the private room that you are in", incode.invite),
    Command("leave", "leave a room; its history stays", places.leave, (_maybe("room", "room"),), ("part",)),
    Command("rooms", "list the rooms that you are in, and in a hub's room the hub's others", places.rooms),
    Command(
        "msg",
        "write to one person, whom nobody else can read along with; without text, go to that room",
        talking.msg,
        (_one("nick", "nick"), _maybe("text", "text")),
        ("m", "dm", "query"),
    ),
    Command("me", "describe what you are doing", talking.me, (_one("action", "text"),)),
    Command(
        "reply",
        "answer a message",
        talking.reply,
        (_maybe("message", "message"), _one("text", "text")),
        ("re",),
    ),
    Command(
        "react",
        "put an emoji on a message, or take it off again",
        talking.react,
        (_maybe("message", "message"), _one("emoji", "emoji")),
    ),
    Command(
        "edit",
        "change a message of yours",
        talking.edit,
        (_maybe("message", "message"), _one("text", "text")),
    ),
    Command("delete", "take a message of yours back", talking.delete, (_maybe("message", "message"),), ("del",)),
    Command("topic", "show the room's topic, or set it; - takes it away", talking.topic, (_maybe("topic", "text"),)),
    Command("nick", "be called something else", company.nick, (_one("nick", "word"),)),
    Command("who", "list who is in the room", company.who, (_maybe("room", "room"),), ("users", "names")),
    Command("whois", "show somebody's key, link and rooms", company.whois, (_one("nick", "nick"),)),
    Command(
        "verify",
        "compare safety words with somebody; then say whether they were the same: yes or no; "
        "accept lets another key have a verified name",
        verifying.verify,
        (_one("nick", "nick"), _maybe("answer", "answer")),
    ),
    Command("away", "be away with a message; without one, be back", company.away, (_maybe("message", "text"),)),
    Command("ignore", "hide what somebody says; without a name, list them", company.ignore, (_maybe("nick", "nick"),)),
    Command("unignore", "hear somebody again", company.unignore, (_one("nick", "nick"),)),
    Command("search", "find messages by their words, in all rooms", places.search, (_one("words", "text"),), ("s",)),
    Command(
        "history",
        "show the last messages with their ids, or those before one",
        places.history,
        (_maybe("count", "count"), _maybe("before", "message")),
        ("last",),
    ),
    Command("op", "on a hub: make somebody an operator of the room", onhubs.op, (_one("nick", "nick"),)),
    Command("deop", "on a hub: no longer an operator", onhubs.deop, (_one("nick", "nick"),)),
    Command(
        "kick",
        "end somebody's membership of a private room; on a hub: put somebody out of the room",
        incode.kick,
        (_one("nick", "nick"), _maybe("reason", "text")),
    ),
    Command(
        "ban",
        "as /kick, and keep them out: on a hub for ever or for a TIME as 10m or 2d",
        incode.ban,
        (_one("nick", "nick"), _maybe("time", "time"), _maybe("reason", "text")),
    ),
    Command("unban", "let somebody come in again", incode.unban, (_one("nick", "nick"),)),
    Command(
        "role",
        "in a private room: say what somebody is, or make them an admin or a member",
        incode.role,
        (_one("nick", "nick"), _maybe("role", "word")),
    ),
    Command(
        "mute",
        "on a hub: let somebody listen only, for ever or for a TIME",
        onhubs.mute,
        (_one("nick", "nick"), _maybe("time", "time")),
    ),
    Command("unmute", "on a hub: let somebody talk again", onhubs.unmute, (_one("nick", "nick"),)),
    Command("slowmode", "on a hub: one message of each in a TIME; 0 ends it", onhubs.slowmode, (_one("time", "time"),)),
    Command(
        "close",
        "on a hub: put everybody out of the room and forget all that was said in it",
        onhubs.close,
        (_maybe("reason", "text"),),
    ),
    Command("status", "show your key, links, and what is not delivered yet", places.status),
    Command("connect", "link to HOST:PORT, where no beacon reaches", places.connect, (_one("address", "address"),)),
    Command("clear", "empty the screen", places.clear),
    Command("quit", "say goodbye and end", places.quit_, (), ("q", "exit", "bye")),
)

_BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


class Say(Struct, frozen=True):
    """A line that is a message."""

    text: str


class Call(Struct, frozen=True):
    """A line that is a command."""

    command: Command
    arguments: Arguments


def find(name: str) -> Command:
    """The command of this name or alias.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    command = _BY_NAME.get(name.casefold())
    if command is not None:
        return command
    near = difflib.get_close_matches(name.casefold(), _BY_NAME, 1, 0.6)
    meant = f"Did you mean /{near[0]}? " if near else "/help lists them. "
    raise UsageError(
        f"There is no command /{clean_line(name, 40)}; nothing was sent.",
        hint=f"{meant}To send text that begins with a slash, double it: //",
        code="no_command",
    )


def parse(text: str) -> Say | Call:
    """What a typed line is.

    Raises:
        UsageError: an unknown command, or arguments that do not fit it; the hint says how it is used.
    """
    if text.startswith("//"):
        return Say(text[1:])
    if not text.startswith("/"):
        return Say(text)
    name, _, rest = text[1:].partition(" ") if " " in text.split("\n", 1)[0] else text[1:].partition("\n")
    if not name:
        raise UsageError("A slash begins a command.", hint="/help lists them; // sends a slash.", code="no_command")
    command = find(name)
    return Call(command, _arguments(command, rest))


def _arguments(command: Command, rest: str) -> Arguments:
    values: dict[str, str] = {}
    rest = rest.strip()
    for i, parameter in enumerate(command.parameters):
        if parameter.kind == "text":
            if rest:
                values[parameter.name] = rest
            rest = ""
        elif rest:
            word, *left = rest.split(None, 1)
            if parameter.optional and i < len(command.parameters) - 1 and not _fits(parameter, word):
                continue
            values[parameter.name] = word
            rest = left[0] if left else ""
        if not parameter.optional and parameter.name not in values:
            wanted = parameter.name.upper()
            raise UsageError(f"/{command.name} needs {wanted}.", hint=f"Usage: {command.usage}", code="usage")
    if rest:
        raise UsageError(
            f"{clean_line(rest, 40)!r} is too much for /{command.name}.", hint=f"Usage: {command.usage}", code="usage"
        )
    return Arguments(values)


def _fits(parameter: Parameter, word: str) -> bool:
    match parameter.kind:
        case "count":
            return word.isdigit()
        case "time":
            return word[:1].isdigit()
        case _:
            return is_target(word)


async def execute(context: Context, text: str) -> None:
    """Do what a typed line says.

    Raises:
        SandpiperError: it cannot be done; nothing was sent.
    """
    match parse(text):
        case Say(text=said):
            talking.say(context, said)
        case Call(command=command, arguments=arguments):
            await command.run(context, arguments)


def commands_markdown() -> str:
    """The table for the docs."""
    rows = ["| command | also | what it does |", "|---|---|---|"]
    for command in COMMANDS:
        also = " ".join(f"`/{alias}`" for alias in command.aliases)
        rows.append(f"| `{command.usage}` | {also} | {command.help} |")
    return "\n".join(rows) + "\n"
