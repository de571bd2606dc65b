"""A running peer. `Node` is the only API that faces and bots use; docs/architecture.md walks a message through it."""

from typing import TYPE_CHECKING

from sandpiper.node.notices import (
    CodeMade,
    CodePassword,
    HubChange,
    HubNews,
    KeyChanged,
    MeetingNews,
    NodeNotice,
    NodeSettings,
    PasswordWanted,
    PlainMessage,
    PlainPeer,
    Problem,
    Subscriber,
    moment,
)

if TYPE_CHECKING:
    from sandpiper.node.node import Node

__all__ = [
    "CodeMade",
    "CodePassword",
    "HubChange",
    "HubNews",
    "KeyChanged",
    "MeetingNews",
    "Node",
    "NodeNotice",
    "NodeSettings",
    "PasswordWanted",
    "PlainMessage",
    "PlainPeer",
    "Problem",
    "Subscriber",
    "moment",
]


def __getattr__(name: str) -> object:
    """`Node` when it is first asked for: it brings the network and the cryptography, and a screen is painted sooner
    without them.
    """
    if name == "Node":
        from sandpiper.node.node import Node

        globals()["Node"] = Node
        return Node
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
