"""`sandpiper serve`: a hub, put together from its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from sandpiper.cli.options import Options, pass_options, switch, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandpiper.cli.options import Decorator
    from sandpiper.config import Paths
    from sandpiper.hub.settings import LoadedHub


def _option(*declarations: str, metavar: str, help: str, multiple: bool = False) -> Decorator:
    """An option of the hub. Values are checked with all its other settings, not here."""
    return click.option(*declarations, metavar=metavar, multiple=multiple, help=help, default=None)


def _flag(*declarations: str, help: str, value: bool = True) -> Decorator:
    return click.option(*declarations, is_flag=True, flag_value=value, default=None, help=help)


listening = together(
    _option("--host", metavar="ADDR", multiple=True, help="Address to listen on; repeatable. Without it: all."),
    _option("--port", metavar="PORT", help="TCP port for everything; 5000 if nothing is said."),
    _option("--roles", metavar="ROLES", help="What to serve, of chat,rendezvous,relay; chat without it."),
    _option("--name", metavar="NAME", help="What the hub calls itself."),
    _option("--motd", metavar="TEXT", help="What everybody is told who comes in."),
    _option("--tls", metavar="self-signed", help="Make a certificate, and print its fingerprint for pinning."),
    _option("--tls-cert", metavar="FILE", help="Certificate with its chain, PEM."),
    _option("--tls-key", metavar="FILE", help="Its key, PEM."),
    _flag("--tls-only", help="Refuse to chat without TLS."),
)
admitting = together(
    _option("--password-file", metavar="FILE", help="Guests must know the first line of it."),
    _option("--operator", "operators", metavar="KEY", multiple=True, help="Public key of an operator; repeatable."),
    _option("--connections", metavar="N", help="Guests at once."),
    _option("--connections-an-address", metavar="N", help="Guests at once of one address."),
    _flag("--count-loopback", help="Limits of an address hold for this machine, too."),
    _option("--rooms", metavar="N", help="Rooms at once."),
    _option("--guests-a-room", metavar="N", help="Guests of one room."),
    _option("--guest-rate", metavar="N", help="Messages a second of one guest."),
    _option("--guest-burst", metavar="N", help="Messages at once of one guest."),
    _option("--address-rate", metavar="N", help="Messages a second of one address."),
    _option("--address-burst", metavar="N", help="Messages at once of one address."),
    _option("--room-rate", metavar="N", help="Messages a second in one room."),
    _option("--room-burst", metavar="N", help="Messages at once in one room."),
)
keeping = together(
    _option("--data", metavar="DIR", help="Directory of the hub's key, certificate and history."),
    _option("--history", metavar="FILE", help="File of the history; history.db in the data directory without it."),
    _flag("--no-history", help="Keep the newest messages in memory only."),
    _flag("--durable", help="Tell no message before the disk has it, also if the power fails."),
    _option("--keep-days", metavar="N", help="Days that messages are kept; 0: for ever."),
    _option("--keep-mb", metavar="N", help="MiB of messages kept; 0: all."),
    _option("--metrics", metavar="WHO", help="Who may read /metrics: local, all or off."),
    _flag("--no-uvloop", "uvloop", value=False, help="Python's own event loop, also where uvloop is installed."),
)
introducing = together(
    _option("--second-port", metavar="PORT", help="Another port, by which peers tell their kind of NAT."),
    _option("--joins-a-minute", metavar="N", help="Rooms by code that an address enters a minute."),
    _option("--code-hours", metavar="N", help="Hours that a code can be used."),
    _option("--bridges", metavar="N", help="Bridges of the relay at once."),
    _option("--bridges-an-address", metavar="N", help="Connections of bridges of one address."),
    _option("--relay-rate", metavar="N", help="MiB a second that the relay takes from an address."),
    _option("--relay-burst", metavar="N", help="MiB at once that the relay takes from an address."),
)
clustering = together(
    _option("--bus", metavar="URLS", help="NATS servers (nats://HOST:4222,…) of a cluster of hubs; or: embedded."),
    _option("--bus-name", metavar="NAME", help="What the cluster is called there; sandpiper without it."),
    _option("--bus-creds", metavar="FILE", help="NATS credentials; a token is in SANDPIPER_HUB_BUS_TOKEN."),
    _option("--bus-replicas", metavar="N", help="Copies on NATS servers: 1, 3 or 5."),
)


@click.command()
@click.option("--config", "file", metavar="FILE", default="", envvar="SANDPIPER_HUB_CONFIG", help="Settings, TOML.")
@listening
@admitting
@keeping
@introducing
@clustering
@switch("--debug", help="Tell and log more of what happens inside.")
@switch("--quiet", "-q", "quiet", help="Log into the file only, not on stderr.")
@pass_options
def serve(options: Options, /, file: str, **flags: object) -> int:
    """Serve chat rooms that everybody can reach who reaches this machine.

    Every option but --config can stand in the file under the same name (with _ for -), or in the environment as
    SANDPIPER_HUB_NAME. The password never stands on the command line: --password-file or SANDPIPER_HUB_PASSWORD.
    SIGHUP has the settings read again; SIGTERM says goodbye to everybody and ends.
    """
    from sandpiper.hub.settings import load

    if flags["port"] is None:
        flags["port"] = options.settings.get("port")  # it may stand before the command

    def read_again() -> LoadedHub:
        return load(flags, file)

    return run(options, read_again)


def run(options: Options, read_again: Callable[[], LoadedHub]) -> int:
    """Serve with what `read_again` settles, now and at every reload; the exit code."""
    from sandpiper.config import Paths

    paths, loaded = Paths.find(), read_again()
    _log(options, paths)
    for warning in loaded.warnings:
        options.narrate(warning)
    from sandpiper.hub.serve import serve as run_hub

    return run_hub(loaded, _data(loaded, paths), read_again)


def _data(loaded: LoadedHub, paths: Paths) -> Path:
    """The hub's directory."""
    from pathlib import Path

    return Path(loaded.settings.data).expanduser().absolute() if loaded.settings.data else paths.data_dir / "hub"


def _log(options: Options, paths: Paths) -> None:
    """Into a file of its own, which does not grow forever, and on stderr, for a terminal or a journal."""
    import logging

    from sandpiper.faces import logs

    logging.getLogger("filelock").setLevel(logging.INFO)
    narrator, problem = logs.start(replace(paths, log_dir=paths.log_dir / "hub"), debug="debug" in options.switches)
    if narrator is None and "quiet" not in options.switches:
        logging.getLogger().addHandler(logs.Narrator())
    if problem:
        options.narrate(problem)
