"""What the faces and their node are told, from the settings of the person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from typing_extensions import override

if TYPE_CHECKING:
    from sandpiper.config import Settings
    from sandpiper.node import NodeSettings


class Secret:
    """A text that must not be shown: it stands in no `repr`."""

    __slots__ = ("text",)

    def __init__(self, text: str = "") -> None:
        self.text = text

    @override
    def __repr__(self) -> str:
        return "Secret(…)"


class Entering(Struct, frozen=True):
    """The private room to begin in: `create` is the name of one to be made, whose newcomers get as much of its history
    as `history` says, or else `code` is that of one to join.
    """

    create: str = ""
    history: str = "all"
    code: Secret = Secret()
    password: Secret = Secret()


START_ROOM = "general"
"""The open room to start in when nobody says another one; a private room of that name is never meant."""


class LineSettings(Struct, frozen=True):
    """How line mode behaves. `prompt`: a person sits at a terminal; `json`: events instead of text; `hub`: the address
    of one to start on; `password` is tried where that one or a room of it wants one; `entering` is the private room to
    start in; `qr`: codes are shown as QR codes, too, if there is a prompt.
    """

    room: str = START_ROOM
    json: bool = False
    prompt: bool = False
    coloured: bool = False
    quiet: bool = False
    linger: float = 2.0
    history_lines: int = 100
    hub: str = ""
    password: Secret = Secret()
    entering: Entering | None = None
    qr: bool = True


class TuiSettings(Struct, frozen=True):
    """How the full-screen face behaves; the words are those of the settings of the same names, `theme` is settled
    (dark, light or none). `hub`, `password`, `entering` and `qr` as in `LineSettings`. `log_file` is where to look when
    something of ours failed, None: there is none; `config_file` is where the settings are, or would be.
    """

    room: str = START_ROOM
    theme: str = "dark"
    emoji: str = "safe"
    notify: str = "bell"
    keys: tuple[str, ...] = ()
    hub: str = ""
    password: Secret = Secret()
    entering: Entering | None = None
    qr: bool = True
    quiet: bool = False
    log_file: Path | None = None
    config_file: Path | None = None


def node_settings(settings: Settings, *, multicast: bool = True) -> NodeSettings:
    """What a node is told of the settings.

    Raises:
        UsageError: a relay's address is none.
    """
    from sandpiper.net.relays import parse_relay
    from sandpiper.node.notices import DEFAULT_PORTS, NodeSettings  # loads the node, which the screen does not wait for

    return NodeSettings(
        ports=range(settings.port, settings.port + 1) if settings.port else DEFAULT_PORTS,
        group=settings.multicast.host,
        group_port=settings.multicast.port,
        multicast=multicast,
        interfaces=settings.interfaces,
        peers=tuple((peer.host, peer.port) for peer in settings.peers),
        plain=settings.compat == "p2pchat",
        relays=tuple(dict.fromkeys(map(parse_relay, settings.relay))),
        port_mapping=settings.port_mapping == "auto",
    )
