"""The first words on a connection to a hub: does it know ours or only the founding protocol, who is it, and what are
we called. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.errors import TrustError
from sandpiper.wire.hub import AUTH_DOMAIN, FEATURES, HUB_VERSION
from sandpiper.wire.hub.asks import Ask, Auth, Hello, Nick
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES, MAX_NICK_CHARS
from sandpiper.wire.text import clean_line, clean_nick

if TYPE_CHECKING:
    from sandpiper.wire.hub.answers import Challenge, Error, HelloBack

HELLO_SECONDS = 8.0  # a hub that has not answered hello is a founding one; far tunnels answer within two
NICK_SECONDS = 8.0  # for every answer after that
MAX_NICK_TRIES = 5  # suggestions taken before we stay what the hub calls us
BUSY_SECONDS = 1.0  # before a nick is asked for again that the hub had no time for
MAX_BUSY_TRIES = 3  # times that is done before we go in as what the hub calls us; the nick is asked for there again
_NONCE_BYTES = range(16, 65)  # a hub draws 32; fewer could be guessed, more would let it choose what we sign
_NOT_UNDERSTOOD = frozenset({"", "unknown_type", "not_valid", "not_json"})


class Signer(Struct, frozen=True):
    """Our key, and what signs with it."""

    key: PeerKey
    sign: Callable[[bytes], bytes]


class Greeting:
    """Call one of its methods for what came and send what it puts into `asks`, until it is `done`."""

    def __init__(self, wanted: str, signer: Signer | None, hub_id: bytes, now: float) -> None:
        """`hub_id` is the key that this hub had before; empty: not known."""
        self.done = False
        self.by = now + HELLO_SECONDS
        """Until when the next answer must come; then call `late`."""
        self.founding = False
        self.proved = False
        self.hub = ""
        self.hub_id = hub_id
        self.nick = wanted
        """What we have asked for; when done, what we are called."""
        self.refused_with = ""
        """Why we are not called what we asked for, when we gave up."""
        self.busy = False
        """The hub had no time to give us our nick."""
        self.asks: list[Ask] = [Hello(HUB_VERSION, FEATURES, "sandpiper")]
        self.wanted = wanted
        """What we have asked for first."""
        self._signer = signer
        self._waits_for_hello = True
        self._tries = 0
        self._busy_tries = 0
        self._given = ""  # what it calls us until it has confirmed another nick; empty: it does not say

    def late(self, now: float) -> None:
        """No answer came in time."""
        if self._waits_for_hello:
            self._is_founding(now)
        elif self.busy and self._busy_tries <= MAX_BUSY_TRIES:
            self.busy = False
            self._ask_nick(self.nick, now)
        else:
            self.busy = bool(self._given)  # it may still give it to us
            self._stay()

    def _stay(self) -> None:
        """We are called what the hub likes."""
        self.nick, self.done = self._given or self.nick, True

    def hello(self, answer: HelloBack, now: float) -> None:
        """It knows our protocol, perhaps later than we thought.

        Raises:
            TrustError: its key is not the one that it had before.
        """
        if not (self._waits_for_hello or self.founding):
            return
        self._waits_for_hello = self.founding = self.done = False
        self.hub = clean_line(answer.hub, 64)
        self._given = clean_nick(answer.nick) if answer.nick else ""
        hub_id = answer.id if len(answer.id) == KEY_BYTES else b""
        if self.hub_id and hub_id != self.hub_id:
            what, hint = "no key", "Ask the hub's owner: somebody may be in between."
            if hub_id:
                what = f"key:{hub_id.hex()}"
                hint = (
                    f"If the hub's owner confirms that, connect with #{what} behind the address; else somebody is in "
                )
                hint += "between."
            raise TrustError(
                f"Another hub answers at this address than before: it has {what}, not the one that is known.",
                hint=hint,
                code="hub_changed",
            )
        self.hub_id = hub_id
        # Without an id, a hub could use our signature at any other that has none.
        if self._signer is not None and "auth" in answer.features and hub_id:
            self.by = now + NICK_SECONDS
            self.asks.append(Auth(self._signer.key))
        else:
            self._ask_nick(self.wanted, now)

    def challenge(self, answer: Challenge, now: float) -> None:
        """It wants our key proved."""
        if self._signer is None or self.done or self.founding or self.proved:
            return
        if len(answer.nonce) in _NONCE_BYTES:
            self.asks.append(Auth(self._signer.key, self._signer.sign(AUTH_DOMAIN + self.hub_id + answer.nonce)))
        self._ask_nick(self.wanted, now)

    def named(self, nick: str = "") -> None:
        """We are called so; empty: as we asked."""
        self.nick, self.busy = nick or self.nick, False
        self.done = not self._waits_for_hello

    def refused(self, error: Error, now: float) -> bool:
        """Something was refused; False when it was none of this."""
        if self._waits_for_hello:
            if error.code in _NOT_UNDERSTOOD:
                self._is_founding(now)
            return True  # the lobby may be full, or closed to us: we join where we want to
        if error.code == "busy" and not self.founding:
            self.busy = True
            self._busy_tries += 1
            self.by = now + BUSY_SECONDS
            return True
        if error.code not in ("nick_taken", "bad_nick") and not (self.founding and not error.code):
            return False
        self._tries += 1
        if self._tries > MAX_NICK_TRIES:
            self.refused_with = error.text
            self._stay()
        else:
            number = f"{self._tries + 1}"
            suggested = error.suggestion or self.wanted[: MAX_NICK_CHARS - len(number)] + number
            self._ask_nick(clean_nick(suggested), now)
        return True

    def said(self, now: float) -> None:
        """A message without a number came: only founding hubs have those."""
        if self._waits_for_hello:
            self._is_founding(now)

    def _is_founding(self, now: float) -> None:
        self._waits_for_hello = False
        self.founding = True
        self._ask_nick(self.wanted, now)

    def _ask_nick(self, nick: str, now: float) -> None:
        self.nick, self.by = nick, now + NICK_SECONDS
        self.asks.append(Nick(nick))
