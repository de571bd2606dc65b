"""`sandpiper peers`: who is known from the history, and who answers on this network now."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sandpiper.config import Address
from sandpiper.core.names import Names
from sandpiper.errors import StoreError
from sandpiper.faces import events
from sandpiper.faces.archive import Archive, profile_directory
from sandpiper.faces.doctor.probes.air import probe_air
from sandpiper.faces.events import encode, timestamp
from sandpiper.faces.spans import columns
from sandpiper.faces.verifying import VERIFIED_MARK
from sandpiper.net.interfaces import list_interfaces
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandpiper.config import Paths, Settings
    from sandpiper.faces.doctor.facts import HeardPeer
    from sandpiper.store.reader import PeerRow


def peer_lines(settings: Settings, paths: Paths, wait: float, *, as_json: bool) -> Iterator[str]:
    """Who answers within `wait` seconds, then everybody else ever linked: as events, or one line each.

    Raises:
        UsageError: a network interface was named that there is not.
    """
    try:
        with Archive(profile_directory(settings, paths)) as kept:
            known = kept.reader.acquaintances()
    except StoreError as exc:
        if exc.code != "no_profile" or settings.profile:
            raise
        known = []  # the very first start: nobody is known yet
    found = look(settings, wait, known)
    width = max((columns(one.nick) for one in found), default=0)
    for one in found:
        if as_json:
            yield encode(one)
            continue
        where = f"here  {' '.join(one.addresses)}" if one.here else f"seen  {ago(one.last_seen or '')}"
        marks = ("  [plain]" if one.plain else f"  key {one.key[:8]}") + f"  {VERIFIED_MARK} verified" * one.verified
        marks += "  ignored" * one.ignored
        yield f"{one.nick}{' ' * (width - columns(one.nick))}  {where}{marks}\n"


def look(settings: Settings, wait: float, known: list[PeerRow]) -> list[events.Known]:
    """Everybody known, and everybody who answers within `wait` seconds; those who answer come first.

    Raises:
        UsageError: a network interface was named that there is not.
    """
    interfaces = list_interfaces(settings.interfaces)
    own = {one.address: one.name for one in interfaces}
    heard: tuple[HeardPeer, ...] = ()
    if wait > 0:
        air = asyncio.run(
            probe_air(Address(*settings.multicast), settings.interfaces, own, lan=True, wait=wait, patient=True)
        )
        heard = air.peers
    names = Names(PeerKey(b""), "")
    for one in known:
        names.learn(one.key, one.nick)
        if one.pinned:
            names.pin(one.key, one.pinned, verified=one.verified)
    rows = {row.key.hex(): row for row in sorted(known, key=lambda row: row.last_seen, reverse=True)}
    out: list[events.Known] = []
    for peer in heard:
        row = rows.pop(peer.key, None) if peer.key else None
        out.append(
            events.Known(
                nick=_shown(names, peer),
                key=peer.key,
                here=True,
                addresses=tuple(str(place) for place in peer.places),
                plain=not peer.key,
                first_seen=timestamp(row.first_seen) if row is not None else None,
                last_seen=timestamp(row.last_seen) if row is not None else None,
                ignored=row is not None and row.ignored,
                verified=row is not None and row.verified,
            )
        )
    out += [
        events.Known(
            nick=names.show(row.key),
            key=row.key.hex(),
            here=False,
            first_seen=timestamp(row.first_seen),
            last_seen=timestamp(row.last_seen),
            ignored=row.ignored,
            verified=row.verified,
        )
        for row in rows.values()
    ]
    return out


def _shown(names: Names, peer: HeardPeer) -> str:
    """What somebody heard is called: a nick is only what a beacon says, so an acquaintance keeps it against it."""
    nick = clean_line(peer.nick, 64)
    if not peer.key:
        return nick
    key = PeerKey(bytes.fromhex(peer.key))
    names.learn(key, nick)
    return names.show(key)


def ago(time: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time is, in words: `2h ago`."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return "just now"
