"""Whom the person has verified, and who comes with a verified name under another key.

Nothing that is said goes to such a key alone, nor into a private room that it is a member of, until the person has
decided. Open rooms are for everybody who asks, so nothing is held back there.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from sandpiper.core.events import Accepted, MemberChanged, PeerChanged
from sandpiper.core.private import PrivateRoom
from sandpiper.core.rate import Bucket
from sandpiper.errors import TrustError, UsageError
from sandpiper.node.notices import KeyChanged, moment
from sandpiper.wire.records import Retract, Text

if TYPE_CHECKING:
    from sandpiper.node.notices import NodeNotice
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import PeerKey, RoomId
    from sandpiper.wire.records import AnyBody

log = logging.getLogger(__name__)

MAX_TOLD = 256  # remembered as told of; somebody may come with thousands
TELL_BURST = 8  # told of at once: each is a block of lines that a person must read
TELL_EVERY = 10.0  # seconds to the next one then; all are marked, and held back, whether told of or not


class HeldBack(TrustError):
    """Nothing is sent to a key that comes with the name of another, verified one."""

    code = "key_changed"


class Trust:
    """What the person has said about keys."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        # Who was told of, and of which private room (None: of none), with the nick that they had then.
        self._told: OrderedDict[tuple[PeerKey, RoomId | None], str] = OrderedDict()
        self._pace = Bucket(1 / TELL_EVERY, TELL_BURST, moment().mono)
        run.subscribe(self._heard)

    # ------------------------------------------------------------ what the person says

    def verify(self, peer: PeerKey, *, verified: bool) -> None:
        """The safety words of this key were the same (or were not, or are to be compared anew); remembered, with the
        nick that it has now.

        Raises:
            StoreError: the disk failed; nothing has changed.
        """
        run, nick = self._run, self._run.names.nick(peer)
        run.history.set_verified(peer, nick, verified=verified)
        if verified:
            run.verified.add(peer)
            run.names.pin(peer, nick, verified=True)
        else:
            run.verified.discard(peer)
            run.names.unpin(peer)
        self._told.pop((peer, None), None)
        for key in run.engine.linked():  # the name may have been another's before
            self._look(key, None)

    def accept(self, peer: PeerKey) -> None:
        """Go on with a key although it comes with a verified name of another; remembered, for this nick only.

        Raises:
            UsageError: nothing is held back from it.
            StoreError: the disk failed; nothing has changed.
        """
        run = self._run
        name, nick = run.names.show(peer), run.names.nick(peer)
        if self.rival(peer) is None:
            raise UsageError(
                f"Nothing is held back from {name}.", hint=f"To compare words: /verify {name}", code="not_held_back"
            )
        run.history.pin(peer, nick)
        run.names.pin(peer, nick, verified=peer in run.verified)

    # ------------------------------------------------------------ what follows from it

    def rival(self, peer: PeerKey, room: RoomId | None = None) -> PeerKey | None:
        """The verified key whose name `peer` has, or seems to have, without the person having said that it may; `room`
        may name somebody never met.
        """
        if not self._run.verified:
            return None
        found = self._run.engine.room(room) if room is not None else None
        return self._run.names.rival(peer, found.nicks.get(peer, "") if found is not None else "")

    def held_back(self, room: RoomId) -> tuple[PeerKey, ...]:
        """The members of a room because of whom nothing is sent there; always empty for open rooms."""
        found = self._run.engine.room(room) if self._run.verified else None
        if found is None:
            return ()
        members = found.roster.ruling.roles if isinstance(found, PrivateRoom) else filter(None, (found.peer,))
        return tuple(key for key in members if self.rival(key, room) is not None)

    def check(self, room: RoomId, body: AnyBody) -> None:
        """See that a room is nothing that is held back from. Taking something back is never refused.

        Raises:
            HeldBack: it is; nothing was sent.
        """
        held = () if isinstance(body, Retract) else self.held_back(room)
        if held:
            name = self._run.names.show(held[0])
            more = f" (and {len(held) - 1} more)" if len(held) > 1 else ""
            raise HeldBack(
                f"Nothing was sent: {name}{more} has not the key that you have verified under that name.",
                hint=f"To compare words: /verify {name}. To write all the same: /verify {name} accept",
            )

    # ------------------------------------------------------------ what happens

    def _heard(self, notice: NodeNotice) -> None:
        match notice:
            case PeerChanged(peer=peer, state="linked"):
                self._look(peer, None)
            case MemberChanged(room=room, peer=peer, role=role) if role is not None:
                self._look(peer, room)
            case Accepted(record=record, history=False, mine=False) if isinstance(record.body, Text):
                self._look(record.author, record.room)
            case _:
                pass

    def _look(self, peer: PeerKey, room: RoomId | None) -> None:
        """Tell, once in a run, that somebody comes with the name of a verified key."""
        holder = self.rival(peer, room)
        if holder is None:
            return
        found = self._run.engine.room(room) if room is not None else None
        nick = self._run.names.nick(peer)
        if found is not None and not self._run.names.knows(peer):
            nick = found.nicks.get(peer, nick)
            self._run.names.learn(peer, nick)  # so that the name shown is one that commands find
        private = room if isinstance(found, PrivateRoom) else None
        if self._told.get((peer, private)) == nick:
            return
        if not self._pace.take(moment().mono):
            log.info("another key with a verified name: %s (not told: too many)", peer.hex()[:8])
            return
        self._told[peer, private] = nick
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        self._run.tell(KeyChanged(peer, holder, private))
