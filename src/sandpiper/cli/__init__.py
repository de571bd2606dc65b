"""The commands, and the only place where the parts are put together. Nothing heavy is imported before it is needed.

Data goes to stdout, narration to stderr. Exit codes: 0 ok (also after SIGTERM or a closed terminal, which say
goodbye), 1 failure, 2 usage, 3 network or no peer, 4 wrong code, password or
passphrase, 5 key changed or verification failed, 6 timeout, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from sandpiper import __version__
from sandpiper.cli.coding import create, join
from sandpiper.cli.connecting import connect, server
from sandpiper.cli.entry import run
from sandpiper.cli.founding import go_style, p2pchat
from sandpiper.cli.keeping import keep
from sandpiper.cli.lookups import doctor, history, peers, rooms, verify
from sandpiper.cli.options import EXIT_OK, Options, chatting, everywhere, network, put
from sandpiper.cli.relaying import relay
from sandpiper.cli.serving import serve
from sandpiper.cli.settings import config
from sandpiper.cli.start import chat

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sandpiper %(version)s")
@chatting
@network
@everywhere
@click.pass_context
def sandpiper(context: click.Context) -> int:
    """Chat with everybody on this network: no set-up, no account, no server."""
    return EXIT_OK if context.invoked_subcommand is not None else chat(context.ensure_object(Options))


@sandpiper.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@everywhere
def completion(shell: str) -> int:
    """Print the script with which SHELL completes sandpiper's commands and options.

    For example, in ~/.bashrc:  eval "$(sandpiper completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        put(kind(sandpiper, {}, "sandpiper", "_SANDPIPER_COMPLETE").source() + "\n")
    return EXIT_OK


for _command in (create, join, keep, connect, server, history, rooms, peers, verify, doctor, config, serve, relay):
    sandpiper.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """`sandpiper`; the exit code."""
    return run(sandpiper, "sandpiper", sys.argv[1:] if arguments is None else arguments)


def p2pchat_main(arguments: Sequence[str] | None = None) -> int:
    """`p2pchat`; the exit code."""
    return run(p2pchat, "p2pchat", go_style(sys.argv[1:] if arguments is None else arguments))
