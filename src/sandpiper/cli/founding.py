"""`p2pchat`: the founding program's command line, with its old dialect switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandpiper.cli.options import Options, pass_options, setting, switch
from sandpiper.cli.start import chat

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(context_settings={"help_option_names": ["-help", "--help", "-h"]})
@setting("-username", "--username", "nick", metavar="NAME", help="What others call you.")
@setting("-port", "--port", metavar="PORT", help="TCP port to listen on.")
@setting("-multicast", "--multicast", metavar="ADDR:PORT", help="Group that finds peers on the LAN.")
@switch("-debug", "--debug", help="Tell on stderr what happens inside.")
@switch("--plain", help="Lines of text, no full-screen interface.")
@switch("--json", help="One JSON object a line on stdout.")
@switch("--quiet", help="Only messages and errors.")
@switch("--no-input", help="Never ask anything.")
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
