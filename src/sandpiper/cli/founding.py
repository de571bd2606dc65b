"""`p2pchat`: the founding program's command line, with its old dialect switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandpiper import __version__
from sandpiper.cli.options import Options, everywhere, pass_options, setting
from sandpiper.cli.start import chat

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(context_settings={"help_option_names": ["-help", "--help", "-h"]})
@setting("--port", metavar="PORT", help="TCP port to listen on.")
@setting("--room", metavar="NAME", help="Open room to start in; the old program is heard in general only.")
@setting("--multicast", metavar="ADDR:PORT", help="Group that finds peers on the LAN.")
@everywhere
@click.version_option(__version__, prog_name="p2pchat", message="%(prog)s %(version)s")
@pass_options
def p2pchat(options: Options) -> int:
    """Sandpiper under its founding name: chat on this network, also with the old program."""
    options.settings.setdefault("compat", "p2pchat")
    return chat(options)


def go_style(arguments: Sequence[str]) -> list[str]:
    """Go's way with options: one dash is as good as two, and a switch may have a value."""
    out: list[str] = []
    for argument in arguments:
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or len(name) < 2:
            out.append(argument)
        elif not equals or name not in ("debug", "help"):
            out.append(f"--{name}{equals}{value}")
        elif value.lower() in ("1", "t", "true"):
            out.append(f"--{name}")
    return out
