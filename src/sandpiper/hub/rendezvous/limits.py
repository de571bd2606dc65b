"""Bounds and timings of the rendezvous and the relay, each with its reason, and what an operator may change."""

from __future__ import annotations

from msgspec import Struct

# --- one connection ---
MAX_STRIKES = 20  # lines that were not understood or came too fast: more is not a slip (as in the chat)
MAX_ROOMS_A_GUEST = 64  # rooms that one peer remembers and is registered in at once
MAX_COORDINATIONS = 16  # of one guest that wait for the other side: as many peers are dialled at once
LINES_RATE, LINES_BURST = 20.0, 200.0  # asks a second: a join takes some ten, a return registers 64 rooms at once
MAX_BACKLOG_BYTES = 1024 * 1024  # written and not taken: forty signals of the largest size; then the guest is cut

# --- all together ---
MAX_ADDRESSES = 100_000  # remembered: 400 bytes each; those that hold nothing are forgotten first

# --- timings, seconds ---
EMPTY_SECONDS = 600.0  # a nameplate without anybody: long enough for a lost connection to come back
COORDINATION_SECONDS = 30.0  # the other side is told by a signal first; a minute-old wish to dial is of no use
START_MARGIN = 0.05  # both sides prepare their sockets after the line has come (milliseconds; a slow phone, more)
MAX_RTT = 3.0  # beyond it nothing is compensated: whoever answers pings so late would delay the other side
PING_SECONDS = 25.0  # silence after which a guest is pinged: some NATs forget a quiet connection after 30
SILENCE_SECONDS = 80.0  # silence after which it is gone: two pings unanswered
IDLE_SECONDS = 60.0  # for a guest to register anywhere: asking who is there, and from where it is seen, takes a second
CLOSING_AGAIN = 2.0  # after our goodbye: a restart takes about as long
SWEEP = 1.0  # between two looks at what is due

# --- the relay ---
WAITING_SECONDS = 30.0  # for the other half of a bridge: it was told by a signal, and dials at once
BRIDGE_IDLE_SECONDS = 180.0  # without a byte either way: links ping each other every 20 s, and are dead after 60
HALF_CLOSED_SECONDS = 30.0  # one side has ended: the other may still send what it had
MAX_EARLY_BYTES = 8 * 1024  # of one who waits: a preamble and the first handshake message
BRIDGE_CHUNK = 64 * 1024  # read at once, and held at most for a slow side (see bench/relay.py)


class RendezvousSettings(Struct, frozen=True, kw_only=True):
    """What the operator may choose."""

    rendezvous: bool = True
    relay: bool = True
    second_port: int = 0
    """Where it listens as well, so that peers can tell the kind of NAT they are behind; 0: nowhere."""
    guests: int = 20_000
    """Connections at once: rendezvous and halves of bridges together."""
    guests_an_address: int = 256
    registrations: int = 50_000
    registrations_an_address: int = 512
    codes_an_address: int = 32
    joins_a_minute: int = 120
    """Rooms made, entered and looked up by one address: one return of somebody with 64 rooms, twice."""
    bridges: int = 2000
    bridges_an_address: int = 64
    address_rate: float = 16.0
    """MiB a second that the relay takes from one address on average; faster ones wait."""
    address_burst: float = 256.0
    """MiB at once: a few photographs at full speed."""
    code_hours: float = 24.0
