"""Bare `sandpiper`: the chat, put together from profile, node and face."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandpiper.cli.options import Options
    from sandpiper.config import Loaded, Paths
    from sandpiper.faces.logs import Narrator
    from sandpiper.faces.settings import Entering
    from sandpiper.faces.tui.views import Ask
    from sandpiper.node import NodeSettings
    from sandpiper.store.profile import Profile


def chat(options: Options, *, hub: str = "", password: str = "", entering: Entering | None = None) -> int:
    """Chat until the end, on the whole screen where there is one, with a `hub` (its address, and a password
    to try where one is wanted) or without, beginning in a private room (`entering`) or not; the exit code.
    """
    from sandpiper.faces import logs

    paths, loaded = options.load()
    switches = options.switches
    narrator, problem = logs.start(paths, debug="debug" in switches)
    if problem:
        options.narrate(problem)
    on_terminal = not options.json and not _is_dumb() and is_terminal(sys.stdin) and is_terminal(sys.stdout)
    if not on_terminal or not is_terminal(sys.stderr) or "plain" in switches:  # the screen is drawn on stderr
        return _line_mode(
            options, paths, loaded, narrator, prompt=on_terminal, hub=hub, password=password, entering=entering
        )
    if narrator is not None:
        import logging

        logging.getLogger().removeHandler(narrator)  # the screen is no place for a log; the file has it all
        logging.raiseExceptions = False
    log_file = None if problem else paths.log_dir / "sandpiper.log"
    return _full_screen(options, paths, loaded, log_file=log_file, hub=hub, password=password, entering=entering)


def _line_mode(
    options: Options,
    paths: Paths,
    loaded: Loaded,
    narrator: Narrator | None,
    *,
    prompt: bool,
    hub: str,
    password: str,
    entering: Entering | None,
) -> int:
    import asyncio

    from sandpiper.faces import line
    from sandpiper.faces.settings import LineSettings, Secret, node_settings

    settings, switches = loaded.settings, options.switches
    chosen = LineSettings(
        room=settings.room,
        json=options.json,
        prompt=prompt,
        coloured=not options.json and _is_coloured(settings.colour),
        quiet="quiet" in switches,
        linger=settings.linger,
        history_lines=settings.history_lines,
        hub=hub,
        password=Secret(password),
        entering=entering,
        qr=settings.qr,
    )
    network_settings = node_settings(settings, multicast="no_multicast" not in switches)
    asked = can_ask(options)
    nick, passphrase = ask_nick if asked and prompt else None, ask_passphrase if asked else None
    with open_chosen(paths, loaded, nick=nick, passphrase=passphrase) as profile:
        return asyncio.run(line.run(profile, network_settings, chosen, narrator))


def _full_screen(
    options: Options,
    paths: Paths,
    loaded: Loaded,
    *,
    log_file: Path | None,
    hub: str,
    password: str,
    entering: Entering | None,
) -> int:
    from sandpiper.config import set_value
    from sandpiper.faces.settings import Secret, TuiSettings, node_settings
    from sandpiper.faces.tui.background import chosen_theme
    from sandpiper.faces.tui.curtain import Curtain
    from sandpiper.faces.tui.palettes import PALETTES

    settings, switches = loaded.settings, options.switches
    theme = chosen_theme(settings.theme, coloured=_is_coloured(settings.colour), env=os.environ)
    curtain = Curtain(PALETTES[theme])
    curtain.draw()
    chosen = TuiSettings(
        room=settings.room,
        theme=theme,
        emoji=settings.emoji,
        notify=settings.notify,
        keys=settings.keys,
        hub=hub,
        password=Secret(password),
        entering=entering,
        qr=settings.qr,
        quiet="quiet" in switches,
        log_file=log_file,
        config_file=paths.config_file,
    )

    def open_profile(ask: Ask) -> Profile:
        if "no_input" in switches:
            return open_chosen(paths, loaded, nick=None, passphrase=None)
        return open_chosen(paths, loaded, nick=ask.nick, passphrase=ask.passphrase)

    def network_settings() -> NodeSettings:
        return node_settings(settings, multicast="no_multicast" not in switches)

    try:
        from sandpiper.faces.tui.run import run  # what takes long to load

        code = run(open_profile, network_settings, chosen, partial(set_value, paths))
    except BaseException:
        curtain.lift()
        raise
    curtain.put_away()
    return code


def can_ask(options: Options) -> bool:
    """True when a person is there to answer, wherever the data goes."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr) and "no_input" not in options.switches


def open_chosen(
    paths: Paths,
    loaded: Loaded,
    *,
    nick: Callable[[str], str] | None,
    passphrase: Callable[[str], str] | None,
) -> Profile:
    """Open the profile that the settings mean. `nick` is asked for one at the very first start, with a suggestion that
    is taken when there is nobody to ask (None); `passphrase` is asked with a prompt for that of a sealed identity.
    """
    from sandpiper.faces.archive import chosen_profile
    from sandpiper.store.profile import open_profile, suggest_nick

    settings = loaded.settings
    called, name = settings.nick or None, chosen_profile(settings, paths)
    if name is None:
        name = called = nick(suggest_nick()) if nick is not None else suggest_nick()
    return open_profile(paths, name, nick=called, passphrase=passphrase, keyring=settings.keyring)


def ask_nick(suggested: str) -> str:
    """A nick that can be one, asked for on the terminal."""
    from sandpiper.errors import UsageError
    from sandpiper.wire.text import check_nick

    while True:
        typed: str = click.prompt("Your nickname", default=suggested, err=True)
        try:
            return check_nick(typed)
        except UsageError as exc:
            click.echo(exc.sentence(), err=True)


def ask_passphrase(prompt: str) -> str:
    """What is typed on the terminal, unseen."""
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
