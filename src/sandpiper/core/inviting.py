"""What the codes of this member want done, as effects of the engine: the members of a room hear of its codes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.admission import AdmissionEffect, Let, Tell
from sandpiper.core.events import Effect, Send
from sandpiper.core.private import PrivateRoom
from sandpiper.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandpiper.core.room import Room
    from sandpiper.wire.ids import PeerKey, RoomId


def stands(room: Room | None, after: Iterable[bytes]) -> bool | None:
    """Whether a code still holds that was made by somebody who knew the control records `after` of `room`: whoever is
    put out takes along what they know of codes. None: these are not here yet, so nobody is let in by it.
    """
    if not isinstance(room, PrivateRoom):
        return None
    gone = room.roster.acts.put_out_since(after)
    return None if gone is None else not gone


def carried(effects: Iterable[AdmissionEffect], members: Callable[[RoomId], tuple[PeerKey, ...]]) -> list[Effect]:
    """`members(room)` are the linked ones that share it.

    Raises:
        LocalProtocolError: somebody is to be let in; only whoever asked for that can do it.
    """
    out: list[Effect] = []
    for effect in effects:
        match effect:
            case Tell(room=room, frame=frame, to=to, without=without):
                told = tuple(key for key in members(room) if to in (None, key) and key != without)
                if told:
                    out.append(Send(told, frame))
            case Let():
                raise LocalProtocolError("nobody has asked to be let in")
            case _:
                out.append(effect)
    return out
