"""Many hubs that are one: their rooms' common order, history, nicks and presence, over NATS. Page: docs/scaling.md.

`log` is what goes over it; `replica` and `replicated` are pure: a room as its log makes it, and the house's order that
asks the cluster first. `link` is the connection; `cluster`, `rooms`, `nicks`, `presence` and `pages` carry out what is
asked; `embedded` runs a NATS server of one's own.
"""

from __future__ import annotations
