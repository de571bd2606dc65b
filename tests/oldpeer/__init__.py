"""An independent peer of the founding "P2P Chat" program, for tests and as the rival of a benchmark.

It shares no code with the project: it was written from the protocol pages alone, with blocking sockets and threads.
The names are imported on first use, so that ``python -m tests.oldpeer.p2pchat`` does not load the module twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .p2pchat import Line, OldPeer, Peer, Refused, decode_datagram, decode_line, go_time, parse_go_time

__all__ = ["Line", "OldPeer", "Peer", "Refused", "decode_datagram", "decode_line", "go_time", "parse_go_time"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import p2pchat

        return getattr(p2pchat, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
