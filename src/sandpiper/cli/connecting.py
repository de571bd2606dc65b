"""`sandpiper connect` and, with the founding program's options, `sandpiper server`: the chat, on a hub."""

from __future__ import annotations

import click

from sandpiper.cli.options import Options, chatting, everywhere, network, pass_options
from sandpiper.cli.start import chat


@click.command()
@click.argument("address", metavar="HOST[:PORT]")
@click.option("--password-file", metavar="FILE", default="", help="Where a password is wanted: its first line.")
@click.option("--tls", is_flag=True, help="Encrypt the way to the hub; the same as tls://HOST[:PORT].")
@chatting
@network
@everywhere
@pass_options
def connect(options: Options, address: str, tls: bool, password_file: str) -> int:
    """Chat on the hub at HOST[:PORT] (5000 if nothing is said), and with everybody on this network as ever.

    Several places of one hub: HOST:PORT,HOST:PORT. Where it, or a room of it, has a password, that is asked for; it
    never stands on the command line: --password-file or SANDPIPER_HUB_PASSWORD. Whoever runs the hub can read what is
    said in its rooms.
    """
    return _chat_on(options, address, tls=tls, password=_password(password_file))


@click.command()
@click.option("--host", metavar="HOST", default="127.0.0.1", help="Where the server is.")
@click.option("--port", metavar="PORT", default="5000", help="Its port.")
@everywhere
@pass_options
def server(options: Options, host: str, port: str) -> int:
    """Chat on a server of the founding project, or a hub; the same as connect HOST:PORT."""
    where = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return _chat_on(options, f"{where}:{port}", tls=False)


def _password(path: str) -> str:
    """The password in a file or the environment, if there is one.

    Raises:
        ConfigError: the file cannot be read.
    """
    import os

    from sandpiper.errors import ConfigError
    from sandpiper.wire.hub.asks import MAX_PASSWORD_CHARS

    if not path:
        return os.environ.get("SANDPIPER_HUB_PASSWORD", "")
    try:
        with open(path, encoding="utf-8") as file:
            password = file.readline(MAX_PASSWORD_CHARS + 2).rstrip("\r\n")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"The password file {path} cannot be read ({exc}).", hint="Check its name.") from exc
    if not 0 < len(password) <= MAX_PASSWORD_CHARS:
        raise ConfigError(
            f"The first line of {path} is no password.", hint=f"It has 1 to {MAX_PASSWORD_CHARS} characters."
        )
    return password


def _chat_on(options: Options, address: str, *, tls: bool, password: str = "") -> int:
    from sandpiper.net.hub import parse_hub

    parse_hub(address, tls=tls)  # what is wrong with it is said before anything begins
    return chat(options, hub=address if not tls or "://" in address else f"tls://{address}", password=password)
