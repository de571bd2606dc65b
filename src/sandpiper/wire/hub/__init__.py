"""The hub's chat protocol: one JSON object a line, a superset of the founding one. Page: docs/protocol/hub.md.

`asks` are what guests send, `answers` what the hub sends; `lines` turns both into bytes and back.
"""

from __future__ import annotations

LOBBY = "lobby"
"""The room of whoever names none. A line of the hub that names no room is about this one."""

HUB_VERSION = 1
FEATURES = ("rooms", "history", "resume", "auth", "edit", "react", "typing", "operators", "find")
"""What this hub can do beyond the founding protocol, as its `hello` says."""

AUTH_DOMAIN = b"sandpiper hub auth 1\x00"
"""In front of hub id and nonce in what a guest signs, so that the signature means nothing elsewhere."""
