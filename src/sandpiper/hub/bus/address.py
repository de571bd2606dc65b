"""What `--bus` says: NATS servers that run already, or one of the hub's own. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from sandpiper.errors import ConfigError

TOKEN_VARIABLE = "SANDPIPER_HUB_BUS_TOKEN"  # its name, not a secret
EMBEDDED = "embedded"
LOOPBACK = "127.0.0.1"
NATS_PORT = 4222


class Where(Struct, frozen=True):
    """What `--bus` says: servers of somebody's, or (`host` and `port`, 0: any) one of our own."""

    servers: tuple[str, ...] = ()
    tls: bool = False
    host: str = LOOPBACK
    port: int = 0

    @property
    def embedded(self) -> bool:
        """The hub runs the server itself."""
        return not self.servers


def read_bus(text: str) -> Where:
    """Read a `--bus`.

    Raises:
        ConfigError: it is none.
    """
    if text == EMBEDDED:
        return Where()
    servers, tls = [], False
    for part in text.split(","):
        try:
            url = urlsplit(part.strip())
            port = url.port
        except ValueError:
            url, port = urlsplit(""), None
        if url.scheme not in ("nats", "tls", EMBEDDED) or not url.hostname or url.path or url.query:
            raise ConfigError(
                f"{part.strip()!r} is not a bus.",
                hint="Name NATS servers (nats://HOST:4222,nats://OTHER:4222; tls:// with TLS), or: --bus embedded",
            )
        if url.username is not None or url.password is not None:
            raise ConfigError(
                "The bus must not have its secrets in its address, which others can read.",
                hint=f"Put the token into {TOKEN_VARIABLE}, or name a credentials file with bus_creds.",
            )
        if url.scheme == EMBEDDED:
            if "," in text:
                raise ConfigError("A NATS server of the hub's own is the only one.", hint="Or name others: nats://…")
            return Where(host=url.hostname, port=port or NATS_PORT)
        tls = tls or url.scheme == "tls"
        host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        servers.append(f"{url.scheme}://{host}:{port or NATS_PORT}")
    return Where(tuple(servers), tls)
