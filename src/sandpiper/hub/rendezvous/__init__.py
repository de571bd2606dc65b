"""The rendezvous: it introduces peers to each other, and learns nothing else. Pure. Page: docs/protocol/rendezvous.md.

`desk` answers every line, `nameplates` gives out digits, `rooms` are who is where, `quotas` what an address has taken.
"""

from __future__ import annotations
