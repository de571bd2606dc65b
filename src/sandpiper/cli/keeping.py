"""`sandpiper keep`: a member that runs without a terminal, put together from profile, node and log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandpiper.cli.coding import first_line, piped_code, room_password
from sandpiper.cli.options import Options, everywhere, network, pass_options, reaching, relayed, setting
from sandpiper.cli.start import open_chosen

if TYPE_CHECKING:
    from sandpiper.config import Loaded, Paths
    from sandpiper.faces.settings import Entering
    from sandpiper.store.profile import Profile


@click.command()
@click.option("--code-file", metavar="FILE", default="", help="Come into the room of the code in FILE (-: the input).")
@click.option("--password-file", metavar="FILE", default="", help="That room's password, on the first line of FILE.")
@setting("--room", metavar="NAME", help="Open room to keep, too.")
@reaching
@relayed
@network
@everywhere
@pass_options
def keep(options: Options, code_file: str, password_file: str) -> int:
    """Be in all rooms of the profile, without a terminal: for a machine that is always on.

    Members who are never online together hear through it what the others said. Rooms are joined once, with sandpiper
    join and the same --profile, or here with --code-file, and are remembered. It logs what happens, without what is
    said; with --json it writes all events. SIGTERM says goodbye and ends it (exit code 0).
    """
    import asyncio

    from sandpiper.faces import keeping
    from sandpiper.faces.settings import node_settings
    from sandpiper.hub.ready import tell_system

    paths, loaded = options.load()
    entering = _entering(code_file, password_file, options)
    _log(options, paths)
    with _ours(paths, loaded) as profile:
        room = options.settings.get("room")
        settings = keeping.KeepSettings(
            rooms=(loaded.settings.room,) if room is not None else (), entering=entering, json=options.json
        )
        network_settings = node_settings(loaded.settings, multicast="no_multicast" not in options.switches)
        return asyncio.run(keeping.keep(profile, network_settings, settings, tell_system))


def _entering(code_file: str, password_file: str, options: Options) -> Entering | None:
    """The room to come into, if one is named.

    Raises:
        SandpiperError: the file cannot be read, or holds no code.
    """
    from sandpiper.crypto.codes import parse_code
    from sandpiper.errors import UsageError
    from sandpiper.faces.settings import Entering, Secret

    if not code_file:
        if password_file:
            raise UsageError("There is a password, and no code.", hint="Name the file of the code: --code-file FILE")
        return None
    typed = piped_code() if code_file == "-" else first_line(code_file, "code")
    parse_code(typed)  # what is wrong with it is said before anything begins
    return Entering(
        code=Secret(typed), password=Secret(room_password(options, password_file, ask=False, confirm=False))
    )


def _ours(paths: Paths, loaded: Loaded) -> Profile:
    """The profile, ours alone.

    Raises:
        StoreError: another process uses it; a temporary identity is in no room.
    """
    from sandpiper.errors import StoreError

    profile = open_chosen(paths, loaded, nick=None, passphrase=None)
    if not profile.temporary:
        return profile
    name = profile.name
    profile.close()
    raise StoreError(
        f"The profile {name} is in use by another program.",
        hint="End that one, or give this one a profile of its own: --profile NAME, and join its rooms with it once.",
        code="in_use",
    )


def _log(options: Options, paths: Paths) -> None:
    """Into the log file, and on stderr, for a journal."""
    import logging

    from sandpiper.faces import logs

    narrator, problem = logs.start(paths, debug="debug" in options.switches)
    if narrator is None and "quiet" not in options.switches:
        logging.getLogger().addHandler(logs.Narrator())
    if problem:
        options.narrate(problem)
