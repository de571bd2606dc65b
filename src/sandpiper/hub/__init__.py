"""Server mode: rooms that anybody can reach with a line of JSON. Page: docs/protocol/hub.md.

`house` is the pure core with `rooms`, `guests`, `presence`, `pace`, `answering` and `operators` inside; `chat` and
`serving` are the sockets around it; `history` is what they want of a history, `sqlite` the one on a disk. `order`
decides in which order things happen: this hub at once, or the cluster of `bus`. `listener` is the one port for chat,
HTTP and TLS, and `serve` the program.
"""

from __future__ import annotations
