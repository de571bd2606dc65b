"""Bare `sandpiper`: the chat, put together from profile, node and face."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from sandpiper.cli.options import Options
    from sandpiper.config import Loaded, Paths
    from sandpiper.store.profile import Profile


def chat(options: Options) -> int:
    """Chat until the end; the exit code."""
    import asyncio

    from sandpiper.faces import line, logs
    from sandpiper.faces.settings import LineSettings, node_settings

    paths, loaded = options.load()
    settings, switches = loaded.settings, options.switches
    narrator, problem = logs.start(paths, debug="debug" in switches)
    if problem:
        options.narrate(problem)
    prompt = not options.json and not _is_dumb() and is_terminal(sys.stdin) and is_terminal(sys.stdout)
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
    asked = can_ask(options)
    with open_chosen(paths, loaded, nick=asked and prompt, passphrase=asked) as profile:
        return asyncio.run(line.run(profile, network_settings, chosen, narrator))


def can_ask(options: Options) -> bool:
    """True when a person is there to answer, wherever the data goes."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr) and "no_input" not in options.switches


def open_chosen(paths: Paths, loaded: Loaded, *, nick: bool, passphrase: bool) -> Profile:
    """Open the profile that the settings mean. `nick`: offer one at the very first start; `passphrase`: ask for it."""
    from sandpiper.faces.archive import chosen_profile
    from sandpiper.store.profile import open_profile, suggest_nick

    settings = loaded.settings
    called, name = settings.nick or None, chosen_profile(settings, paths)
    if name is None:
        name = called = _ask_nick(suggest_nick()) if nick else suggest_nick()
    ask = _ask_passphrase if passphrase else None
    return open_profile(paths, name, nick=called, passphrase=ask, keyring=settings.keyring)


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


def is_terminal(file: TextIO | None) -> bool:
    """True when a person reads or writes there."""
    try:
        return file is not None and file.isatty()
    except ValueError:  # it is closed
        return False


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _is_coloured(wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "always"
    return is_terminal(sys.stdout) and not os.environ.get("NO_COLOR") and not _is_dumb()
