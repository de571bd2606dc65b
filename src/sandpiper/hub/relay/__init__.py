"""The relay: it splices two connections that give the same token; it sees only bytes. docs/protocol/rendezvous.md.

`half` is one of the two connections, `bridges` all of them, with their limits.
"""

from __future__ import annotations
