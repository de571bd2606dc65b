"""From a hub's settings to its place in a cluster."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from sandpiper.errors import ConfigError
from sandpiper.hub.bus.address import LOOPBACK, TOKEN_VARIABLE, read_bus
from sandpiper.hub.bus.cluster import Cluster
from sandpiper.hub.bus.embedded import EmbeddedServer
from sandpiper.hub.bus.link import BusSettings

if TYPE_CHECKING:
    from pathlib import Path

    from sandpiper.hub.settings import HubSettings

DAY = 86_400
LONG = 36_500 * DAY  # for "for ever": a NATS server takes 292 years at most


async def open_bus(settings: HubSettings, token: str, data: Path) -> Cluster:
    """Connect, with a NATS server of our own if that is meant.

    Raises:
        ConfigError: something is missing or wrong.
        BusAway: nobody answers.
        StoreError: the directory of our own server cannot be written.
    """
    where = read_bus(settings.bus)
    server = None
    servers = where.servers
    if where.embedded:
        if where.host not in (LOOPBACK, "::1", "localhost") and not token:
            raise ConfigError(
                "A NATS server that others can reach needs a token.", hint=f"Set the same {TOKEN_VARIABLE} at all hubs."
            )
        server = EmbeddedServer(data / "bus", where.host, where.port, token, durable=settings.durable)
        await server.start()
        servers, token = (server.address,), server.token
    chosen = BusSettings(
        servers=servers,
        prefix=settings.bus_name,
        token=token,
        creds=_home(settings.bus_creds),
        tls=ssl.create_default_context() if where.tls else None,
        replicas=settings.bus_replicas,
        keep_seconds=settings.keep_days * DAY or LONG,
        keep_bytes=settings.keep_mb << 20 or -1,
    )
    cluster = Cluster(chosen, server)
    try:
        await cluster.open()
    except BaseException:
        if server is not None:
            await server.aclose()
        raise
    return cluster


def _home(path: str) -> str:
    """With what `~` stands for."""
    return os.path.expanduser(path)
