"""Bounds and timings of the hub's chat, each with its reason, and the settings that an operator may change."""

from __future__ import annotations

from msgspec import Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.ids import PeerKey

# --- one connection ---
MAX_STRIKES = 20  # lines that were not understood: more is not a slip (as the founding protocol)
MAX_READ_BYTES = 64 * 1024  # read at once, and held at most (decoded) while a guest is over its rate
MAX_BACKLOG_BYTES = 4 * 1024 * 1024  # written and not taken; measured: who never reads is gone within a second
MAX_BACKLOGS_BYTES = 64 * MAX_BACKLOG_BYTES  # of all guests together: 256 MiB, what a small machine can spare
MAX_ROOMS_A_GUEST = 20  # a screenful of rooms
MAX_NICKS_A_KEY = 4  # nicks that one key keeps: enough for a person, too few to hoard
MAX_OWNED_NICKS = 100_000  # in all, as the history keeps: some 20 MB
MAX_NICK_TRIES = 99  # suffixes tried for a suggestion: alice2 … alice99
ANON_TRIES = 50  # draws of four digits before longer numbers

# --- rooms ---
MAX_ROOMS = 1000  # held in memory; a room costs its tail and its ids at most (below): a megabyte
MAX_KEPT_ROOMS = 4 * MAX_ROOMS  # known, and kept by the history: a kilobyte or so of each that is not held
ROOM_RESTS = 600.0  # seconds that a room nobody is in is held: whoever lost the connection has come back by then
MAX_TAIL_BYTES = 256 * 1024  # newest lines of a room kept for guests that reconnect: ~2,000 messages
# Newest client ids of a room remembered at least: a window of 1,000 in flight, four times. As numbers of 64 bits, so
# that twice as many take less than a megabyte however long they are.
MAX_CLIENT_IDS = 4096
MAX_AUTHORS = 4096  # newest runs of one author remembered: who may edit what
MAX_BATCH = 4096  # messages encoded at once: half a megabyte
MAX_BANS = 1000  # of one room, mutes as well
MAX_OPERATORS = 100  # of one room
MAX_SPOKE = 10_000  # in a slow room: who spoke when, three each; a megabyte
CROWD = 300  # members from which on presence is told as numbers only
PRESENCE_LINES = 5  # in one batch of presence with a line each; more become one line
MAX_ROOM_LIST = 200  # rooms in one answer
MAX_WHO = 1000  # members in one answer
MAX_PAGE_BYTES = 1024 * 1024  # of lines in a page of history: a quarter of what may wait for a guest

# --- timings, seconds ---
PRESENCE_DELAY = 0.05  # who comes and goes is told together (measured: 480 joins a second without, 15,000 with)
CROWD_DELAY = 0.5  # the same in a crowd, where each telling is a system call for every member, and says numbers only
TYPING_SECONDS = 3.0  # at most one typing line of a guest in this time

# --- what lines cost, in messages ---
COSTLY = 5  # lists, joins, nicks, history, signatures: they take or tell more than a message

# --- work that waits ---
MAX_RECOLLECTIONS = 16  # rooms whose ids of senders are being read; messages in others wait for their turn
MAX_RECALLS = 64  # pages of history that are being read; more are refused as busy
MAX_LOCKS = 1024  # passwords that wait to be hashed, one at a time and one of each address in turn: half a minute
WRONG_PASSWORD_SECONDS = 1.0  # until a guest that said a wrong one may go on: a person types longer


class Pace(Struct, frozen=True):
    """So many a second on average, so many at once."""

    rate: float
    burst: float


ROOMS_MADE = Pace(1 / 60, 40)
"""New rooms of one address: two guests' worth at once. Filling a hub (`MAX_KEPT_ROOMS`) takes it almost three days."""
MAX_CONNECTIONS_AN_ADDRESS = 256  # unless told otherwise: a household, an office, or an attacker
ARRIVALS = Pace(MAX_CONNECTIONS_AN_ADDRESS / 32, 4 * MAX_CONNECTIONS_AN_ADDRESS)
"""New connections of one address, which may have so many at once (more, where it may have more): all of them four times
over when a hub comes back, then all in half a minute. A handshake of TLS takes the hub two milliseconds."""
NICKS_OWNED = Pace(1 / 300, 50)
"""Nicks of one address that become somebody's: an office at once. For `MAX_OWNED_NICKS` it takes a year."""


class Full(RemoteProtocolError):
    """There is no place for more of it; by default: of connections, in all or from this address."""

    code = "full"


class Times(Struct, frozen=True):
    """How long a connection may take, in seconds."""

    half_line: float = 30.0
    """A line that has begun must end."""
    ping: float = 30.0
    """Silence after which a guest that said hello is pinged: NATs forget a quiet mapping after a minute or more."""
    silence: float = 90.0
    """Silence after which such a guest is gone: two pings unanswered."""
    untaken: float = 60.0
    """For a guest to take anything of what waits for it: longer than a network is away when it changes."""
    farewell: float = 3.0
    """For the last bytes of a connection that is closed to be taken."""
    sweep: float = 0.5
    """How often these are looked at."""


class ChatSettings(Struct, frozen=True, kw_only=True):
    """What the operator of a hub may choose."""

    name: str = "sandpiper"
    """What the hub is called in its `hello`."""
    id: bytes = b""
    """The hub's public key, 32 bytes: what a guest's `auth` signature is bound to."""
    operators: frozenset[PeerKey] = frozenset()
    """Keys that are operators everywhere."""
    connections: int = 20_000
    """In all; each costs a file descriptor and a few KiB."""
    connections_an_address: int = MAX_CONNECTIONS_AN_ADDRESS
    guests_a_room: int = 20_000
    rooms: int = MAX_ROOMS
    guest_pace: Pace = Pace(20, 200)
    """Messages of one guest: a person types less, a pasted page fits."""
    address_pace: Pace = Pace(200, 2000)
    room_pace: Pace = Pace(2000, 10_000)
    loopback_counts: bool = False
    """Whether limits an address hold for this machine itself, too. A tunnel in front of the hub makes all its guests
    look like that, so they would share one allowance."""
    times: Times = Times()

    @property
    def kept_rooms(self) -> int:
        """Rooms that are known at most, held or not."""
        return max(MAX_KEPT_ROOMS, self.rooms)

    @property
    def dearest(self) -> int:
        """What a line costs at most: no more than the smallest whole allowance, or it could never be had."""
        return int(min(self.guest_pace.burst, self.address_pace.burst))
