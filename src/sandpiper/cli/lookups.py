"""`sandpiper history`, `rooms`, `peers` and `doctor`: what can be known without chatting."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sandpiper.cli.options import (
    EXIT_OK,
    EXIT_UNTRUSTED,
    Options,
    everywhere,
    meeting,
    network,
    pass_options,
    put,
    reaching,
)
from sandpiper.cli.start import is_terminal

SCREENFUL = 100  # messages that `history` shows on a terminal when no number is given


def _offer_rooms(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Rooms of the history, for the shell's completion."""
    from sandpiper.errors import SandpiperError
    from sandpiper.faces import archive

    try:
        paths, loaded = context.ensure_object(Options).load()
        with archive.Archive(archive.profile_directory(loaded.settings, paths)) as kept:
            return [label for row in kept.rooms() if (label := kept.label(row)).startswith(begun)]
    except SandpiperError:
        return []


@click.command()
@click.argument("room", required=False, shell_complete=_offer_rooms)
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
    from sandpiper.faces import archive, export

    paths, loaded = options.load()
    cut = limit is None and file is None and not options.json and is_terminal(sys.stdout)
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
            put(text)
    if cut and printed >= SCREENFUL:
        options.narrate(f"The newest {SCREENFUL} of each room; all of them: --limit 0")
    return EXIT_OK


@click.command()
@everywhere
@pass_options
def rooms(options: Options) -> int:
    """List the rooms that you were ever in."""
    from sandpiper.faces import archive

    paths, loaded = options.load()
    with archive.Archive(archive.profile_directory(loaded.settings, paths)) as kept:
        for text in archive.room_lines(kept, as_json=options.json):
            put(text)
    return EXIT_OK


@click.command()
@click.option("--wait", type=click.FloatRange(0, 60), default=1.0, metavar="SECONDS", help="Listen for so long.")
@network
@everywhere
@pass_options
def peers(options: Options, wait: float) -> int:
    """List who is on this network now, and everybody you ever met."""
    from sandpiper.faces import nearby

    paths, loaded = options.load()
    for text in nearby.peer_lines(loaded.settings, paths, wait, as_json=options.json):
        put(text)
    return EXIT_OK


@click.command()
@click.argument("peer")
@everywhere
@pass_options
def verify(options: Options, peer: str) -> int:
    """Print the safety words that you and PEER compare, over a call or in person.

    PEER is a nick, or the beginning of a key. That they were the same is said in the chat: /verify PEER yes. The exit
    code is 5 when this is another key than the one that you have verified under that name.
    """
    from sandpiper.faces import archive
    from sandpiper.faces.events import encode
    from sandpiper.faces.spans import text_of
    from sandpiper.faces.stream import compared
    from sandpiper.faces.verifying import comparison_lines

    paths, loaded = options.load()
    with archive.Archive(archive.profile_directory(loaded.settings, paths)) as kept:
        comparison, other = kept.comparison(peer)
    if options.json:
        put(encode(compared(comparison)))
    else:
        for line in comparison_lines(comparison):
            put(f"{text_of(line)}\n")
    if other:
        options.narrate(f"{comparison.name} is another key than the one that you have verified under this name.")
    return EXIT_UNTRUSTED if other else EXIT_OK


@click.command()
@click.option("--wait", type=click.FloatRange(0, 600), metavar="SECONDS", help="Listen for at least so long.")
@reaching
@meeting
@network
@everywhere
@pass_options
def doctor(options: Options, wait: float | None) -> int:
    """Find out what keeps peers from meeting, on this network and through relays, and how to mend it."""
    from sandpiper.faces.doctor import run

    paths, loaded = options.load()
    return run(loaded.settings, paths, options.json, wait=wait)
