"""A running peer. `Node` is the only API that faces and bots use; docs/architecture.md walks a message through it."""

from sandpiper.node.node import Node
from sandpiper.node.notices import (
    NodeNotice,
    NodeSettings,
    PlainMessage,
    PlainPeer,
    Problem,
    Subscriber,
    moment,
)

__all__ = [
    "Node",
    "NodeNotice",
    "NodeSettings",
    "PlainMessage",
    "PlainPeer",
    "Problem",
    "Subscriber",
    "moment",
]
