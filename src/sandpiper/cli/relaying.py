"""`sandpiper relay`: a rendezvous and relay alone, without rooms of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandpiper.cli.options import Options, pass_options, switch
from sandpiper.cli.serving import introducing, listening, run

if TYPE_CHECKING:
    from sandpiper.hub.settings import LoadedHub

DEFAULTS = {"port": 8000, "roles": "rendezvous,relay"}


@click.command()
@click.option("--config", "file", metavar="FILE", default="", envvar="SANDPIPER_HUB_CONFIG", help="Settings, TOML.")
@listening
@introducing
@click.option("--data", metavar="DIR", help="Directory of the certificate.")
@click.option("--metrics", metavar="WHO", help="Who may read /metrics: local, all or off.")
@click.option(
    "--count-loopback", is_flag=True, flag_value=True, default=None, help="Limits hold for this machine, too."
)
@switch("--debug", help="Tell and log more of what happens inside.")
@switch("--quiet", "-q", "quiet", help="Log into the file only, not on stderr.")
@pass_options
def relay(options: Options, /, file: str, **flags: object) -> int:
    """Introduce peers that know a code, and pass their sealed bytes on where they cannot reach each other.

    It learns addresses, numbers of rooms and how much is said, never words, names, keys or text, and keeps nothing on
    disk. Port 8000 unless --port says otherwise; the same as: sandpiper serve --roles rendezvous,relay --port 8000
    """
    from sandpiper.hub.settings import load

    if flags["port"] is None:
        flags["port"] = options.settings.get("port")  # it may stand before the command

    def read_again() -> LoadedHub:
        return load(flags, file, defaults=DEFAULTS)

    return run(options, read_again)
