"""What line mode and its node are told, from the settings of the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.node import NodeSettings
from sandpiper.node.notices import DEFAULT_PORTS

if TYPE_CHECKING:
    from sandpiper.config import Settings


class LineSettings(Struct, frozen=True):
    """How line mode behaves. `prompt`: a person sits at a terminal; `json`: events instead of text."""

    room: str = "general"
    json: bool = False
    prompt: bool = False
    coloured: bool = False
    quiet: bool = False
    linger: float = 2.0
    history_lines: int = 100


def node_settings(settings: Settings, *, multicast: bool = True) -> NodeSettings:
    """What a node is told of the settings."""
    return NodeSettings(
        ports=range(settings.port, settings.port + 1) if settings.port else DEFAULT_PORTS,
        group=settings.multicast.host,
        group_port=settings.multicast.port,
        multicast=multicast,
        interfaces=settings.interfaces,
        peers=tuple((peer.host, peer.port) for peer in settings.peers),
        plain=settings.compat == "p2pchat",
    )
