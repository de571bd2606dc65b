"""`sandpiper connect` and, with the founding program's options, `sandpiper server`: the chat, on a hub."""

from __future__ import annotations

import click

from sandpiper.cli.options import Options, chatting, everywhere, network, pass_options
from sandpiper.cli.start import chat


@click.command()
@click.argument("address", metavar="HOST[:PORT]")
@click.option("--tls", is_flag=True, help="Encrypt the way to the hub; the same as tls://HOST[:PORT].")
@chatting
@network
@everywhere
@pass_options
def connect(options: Options, address: str, tls: bool) -> int:
    """Chat on the hub at HOST[:PORT] (5000 if nothing is said), and with everybody on this network as ever.

    Whoever runs the hub can read what is said in its rooms.
    """
    return _chat_on(options, address, tls=tls)


@click.command()
@click.option("--host", metavar="HOST", default="127.0.0.1", help="Where the server is.")
@click.option("--port", metavar="PORT", default="5000", help="Its port.")
@everywhere
@pass_options
def server(options: Options, host: str, port: str) -> int:
    """Chat on a server of the founding project, or a hub; the same as connect HOST:PORT."""
    where = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return _chat_on(options, f"{where}:{port}", tls=False)


def _chat_on(options: Options, address: str, *, tls: bool) -> int:
    from sandpiper.net.hub import parse_hub

    parse_hub(address, tls=tls)  # what is wrong with it is said before anything begins
    return chat(options, hub=address if not tls or "://" in address else f"tls://{address}")
