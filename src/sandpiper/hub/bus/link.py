"""The connection to the NATS servers: streams that are made once, what is stored, what is read again."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from typing_extensions import override

from sandpiper.errors import ConfigError
from sandpiper.hub.bus.address import TOKEN_VARIABLE
from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.cells import LAST_PLACE, WRONG_PLACE, Cells
from sandpiper.hub.bus.log import MAX_POSTED_BYTES, token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from nats.aio.client import Client as NatsProgram
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0  # for the first connection: a NATS server that has just been started reads its streams first
ANSWER_SECONDS = 5.0  # for the answer to one request; a cluster that elects a leader takes two
RECONNECT_SECONDS = 0.5  # between two tries
PING_SECONDS = 10  # of silence before the server is pinged; two unanswered: it is gone
DUPLICATE_SECONDS = 600.0  # in which the server knows that it has a message already that is sent again
LEASE_SECONDS = 10.0  # after which the nicks of a hub that is gone are free
READ_AT_ONCE = 256  # messages of a log in one answer
READ_BYTES = 4 * 1024 * 1024  # and their bytes
MAX_SUBJECTS = 250  # asked about in one request
STUCK_SECONDS = 3.0  # in which nothing can be stored, though servers are there, after which they count as away
NEEDS = (2, 11)  # the NATS server's version that can read many messages at once

SERVER = re.compile(r"(nats|tls)://([^/@\s]+)")


class BusSettings(Struct, frozen=True, kw_only=True):
    """Where the cluster's bus is and what it keeps. `prefix` names everything of it there."""

    servers: tuple[str, ...]
    prefix: str = "sandpiper"
    token: str = ""
    creds: str = ""
    tls: ssl.SSLContext | None = None
    replicas: int = 1
    keep_seconds: int = 90 * 86_400
    keep_bytes: int = -1

    @override
    def __repr__(self) -> str:  # the token is in it
        return "<settings of a bus>"


class Stored(NamedTuple):
    """A message of a stream: its place, the place of the one before it with the same subject (0: none)."""

    place: int
    before: int
    subject: str
    raw: bytes


class Subjects:
    """What things are called on the bus."""

    def __init__(self, prefix: str) -> None:
        self.log_stream = prefix
        self.changes_stream = f"{prefix}-changes"
        self.rooms_bucket = f"{prefix}-rooms"
        self.nicks_bucket = f"{prefix}-nicks"
        self.hubs_bucket = f"{prefix}-hubs"
        self.beat = f"{prefix}.beat"
        self.tell = f"{prefix}.tell"
        self._prefix = prefix

    def log(self, room: str) -> str:
        """Where a room's log is written."""
        return f"{self._prefix}.log.{token(room)}"

    def live(self, room: str) -> str:
        """Where what was written is told by the server, as soon as it is stored."""
        return f"{self._prefix}.live.{token(room)}"

    def here(self, room: str) -> str:
        """Where hubs tell who is in a room."""
        return f"{self._prefix}.here.{token(room)}"

    def changed(self, room: str, seq: int, kind: str) -> str:
        """Where it stands that a line is not what the log says."""
        return f"{self._prefix}.changed.{token(room)}.{seq}.{kind}"

    def to(self, hub: str) -> str:
        """Where one hub is told something."""
        return f"{self._prefix}.to.{hub}"

    def all_of(self, kind: str) -> str:
        """All subjects of a kind: log, live or changed."""
        return f"{self._prefix}.{kind}.>"


def _why(exc: Exception) -> str:
    said = getattr(exc, "description", None)
    return str(said) if said else type(exc).__name__


class Link:
    """One hub's connection. `changed` is called when it is lost and when it is back."""

    def __init__(self, settings: BusSettings, changed: Callable[[bool], None]) -> None:
        self.settings = settings
        self.names = Subjects(settings.prefix)
        self.there = asyncio.Event()
        """Set while the connection is there."""
        self.ended = asyncio.Event()
        """Set when the server has ended the connection so that it is not tried again."""
        self.stuck = False
        """The connection is there, but nothing that is said can be stored."""
        self._failing = 0.0  # since when no message was stored, on the loop's clock; 0: the last one was
        self.closing = False
        self.waiting = 0
        """About how many bytes of all logs wait to be stored."""
        self._changed = changed
        self._nats: NatsProgram
        self._jet: JetStreamContext
        self.rooms: Cells
        """What rooms are, by token."""
        self.nicks: Cells
        """Nicks and keys."""
        self.hubs: Cells
        """Hubs that are there; forgotten after `LEASE_SECONDS`."""
        self._last: Exception | None = None
        self._errors: tuple[type[Exception], ...] = (OSError, asyncio.TimeoutError)

    async def open(self) -> None:
        """Connect, and make the streams if they are not there.

        Raises:
            ConfigError: nats-py is not installed, or the server is too old, or refuses.
            BusAway: no server answers.
        """
        try:
            import nats
            from nats.errors import Error
        except ImportError as exc:
            raise ConfigError(
                "A bus needs nats-py, which is not installed.", hint="Install it: pip install 'sandpiper-chat[cluster]'"
            ) from exc
        self._errors = (Error, OSError, asyncio.TimeoutError)
        settings = self.settings
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._nats = await nats.connect(
                    list(settings.servers),
                    name=f"sandpiper hub {settings.prefix}",
                    token=settings.token or None,
                    user_credentials=settings.creds or None,
                    tls=settings.tls,
                    error_cb=self._failed,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._back,
                    closed_cb=self._end,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_SECONDS,
                    ping_interval=PING_SECONDS,
                    pending_size=64 * 1024 * 1024,
                )
        except self._errors as exc:
            why = str(self._last or exc) or "nobody answers"
            hint = "Start a NATS server there with JetStream (nats-server -js), or use --bus embedded."
            if "auth" in why.lower():
                hint = f"Put its token into {TOKEN_VARIABLE}, or name a credentials file with bus_creds."
            elif "ssl" in why.lower():
                hint = "Its certificate must be for its name, from an authority that this system trusts."
            raise BusAway(
                f"The bus at {', '.join(settings.servers)} cannot be used: {why.removeprefix('nats: ').rstrip('.')}.",
                hint=hint,
            ) from exc
        try:
            await self._prepare()
        except self._errors as exc:
            await self._nats.close()
            raise ConfigError(
                f"The NATS server does not let the hub keep its streams ({_why(exc)}).",
                hint="It needs JetStream (nats-server -js), the right to make streams, and room for keep_mb.",
            ) from exc
        except BaseException:
            await self._nats.close()
            raise
        self.there.set()

    async def _prepare(self) -> None:
        from nats.js import api
        from nats.js.errors import BadRequestError, NotFoundError

        version = self._nats.connected_server_version
        if (version.major, version.minor) < NEEDS:
            raise ConfigError(
                f"The NATS server is {version.major}.{version.minor}, and too old.",
                hint=f"A cluster needs {NEEDS[0]}.{NEEDS[1]} or later.",
            )
        if self._nats.max_payload < 2 * MAX_POSTED_BYTES:
            raise ConfigError(
                f"The NATS server takes messages of {self._nats.max_payload} bytes only.",
                hint=f"Set its max_payload to {2 * MAX_POSTED_BYTES} or more.",
            )
        settings, names = self.settings, self.names
        self._jet = self._nats.jetstream(timeout=ANSWER_SECONDS)
        streams = [
            api.StreamConfig(
                name=names.log_stream,
                description="Sandpiper: what is said in the rooms of a cluster of hubs",
                subjects=[names.all_of("log")],
                republish=api.RePublish(src=names.all_of("log"), dest=names.all_of("live")),
                allow_direct=True,
                duplicate_window=DUPLICATE_SECONDS,
                max_age=settings.keep_seconds,
                max_bytes=settings.keep_bytes,
                num_replicas=settings.replicas,
                storage=api.StorageType.FILE,
            ),
            api.StreamConfig(
                name=names.changes_stream,
                description="Sandpiper: what was edited and taken back",
                subjects=[names.all_of("changed")],
                max_msgs_per_subject=1,
                allow_direct=True,
                duplicate_window=DUPLICATE_SECONDS,
                max_age=settings.keep_seconds,
                num_replicas=settings.replicas,
                storage=api.StorageType.FILE,
            ),
        ]
        for stream in streams:
            assert stream.name is not None
            try:
                await self._jet.stream_info(stream.name)
            except NotFoundError:
                # Another hub may make it at the same moment, as it is wanted here or a little otherwise.
                try:
                    await self._jet.add_stream(stream)
                except BadRequestError:
                    await self._jet.stream_info(stream.name)
        self.rooms = await self._bucket(names.rooms_bucket)
        self.nicks = await self._bucket(names.nicks_bucket)
        self.hubs = await self._bucket(names.hubs_bucket, LEASE_SECONDS)

    async def _bucket(self, name: str, ttl: float | None = None) -> Cells:
        from nats.js import api
        from nats.js.errors import BadRequestError, BucketNotFoundError, NotFoundError

        try:
            bucket = await self._jet.key_value(name)
        except (BucketNotFoundError, NotFoundError):
            # With a marker's time to live, values may have one of their own.
            config = api.KeyValueConfig(
                name, ttl=ttl, replicas=self.settings.replicas, direct=True, limit_marker_ttl=LEASE_SECONDS
            )
            try:
                bucket = await self._jet.create_key_value(config)
            except BadRequestError:
                bucket = await self._jet.key_value(name)
        return Cells(self._jet, bucket, name, self._errors)

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, self._errors):
            if self._last is None or "auth" not in str(self._last).lower():  # what follows of that says less
                self._last = error
            log.debug("bus: %s", error)
        elif not self.closing:
            log.error("bus: what came could not be dealt with", exc_info=error)

    async def _lost(self) -> None:
        self.there.clear()
        if not self.closing:
            self._changed(False)

    async def _back(self) -> None:
        self._failing, self.stuck = 0.0, False
        self.there.set()
        self._changed(True)

    async def _end(self) -> None:
        """The server has refused us, and nats-py does not try again: only a new start does."""
        self.there.clear()
        if not self.closing:
            log.error("the bus has ended the connection for good: %s", self._last or "it does not say why")
            self.ended.set()

    def _stored(self) -> None:
        """A message was stored."""
        self._failing = 0.0
        if self.stuck:
            self.stuck = False
            self._changed(True)

    def _not_stored(self, began: float) -> None:
        """A message that was sent at `began` was not."""
        self._failing = self._failing or began
        late = asyncio.get_running_loop().time() - self._failing >= STUCK_SECONDS
        if late and not self.stuck and self.there.is_set():
            self.stuck = True
            self._changed(False)

    async def aclose(self) -> None:
        """End the connection."""
        self.closing = True
        self.there.clear()
        await self._nats.close()

    # ------------------------------------------------------------ out

    async def store(self, stream: str, subject: str, raw: bytes, name: str) -> int:
        """Store a message in a stream, and return its place. One of this `name` that is there is not stored again.

        Raises:
            BusAway: it is not known whether it was stored; send it again.
        """
        began = asyncio.get_running_loop().time()
        try:
            stored = await self._jet.publish(
                subject, raw, timeout=ANSWER_SECONDS, stream=stream, headers={"Nats-Msg-Id": name}
            )
        except self._errors as exc:
            self._not_stored(began)
            raise BusAway.of(exc) from exc
        if self._failing:
            self._stored()
        return stored.seq

    async def amend(self, subject: str, raw: bytes, place: int) -> bool:
        """Store a change if the last one with its subject is at `place` (0: there is none), else return False.

        Raises:
            BusAway: it is not known whether it was stored.
        """
        from nats.js.errors import APIError

        headers = {LAST_PLACE: str(place)}
        try:
            await self._jet.publish(
                subject, raw, timeout=ANSWER_SECONDS, stream=self.names.changes_stream, headers=headers
            )
        except APIError as exc:
            if exc.err_code in WRONG_PLACE:
                return False
            raise BusAway.of(exc) from exc
        except self._errors as exc:
            raise BusAway.of(exc) from exc
        return True

    async def say(self, subject: str, raw: bytes) -> None:
        """Tell whoever listens now. What is said while the connection is away is lost."""
        if self.there.is_set():
            try:
                await self._nats.publish(subject, raw)
            except self._errors:
                log.debug("bus: not said")

    async def changes_end(self) -> int:
        """The place of the newest of all changes.

        Raises:
            BusAway: it cannot be read now.
        """
        try:
            return (await self._jet.stream_info(self.names.changes_stream)).state.last_seq
        except self._errors as exc:
            raise BusAway.of(exc) from exc

    async def purge(self, room: str, place: int, changes: int) -> None:
        """What was said in a room before `place`, and changed up to the place `changes` there, is gone for good.

        Raises:
            BusAway: it may be there still.
        """
        try:
            await self._jet.purge_stream(self.names.log_stream, subject=self.names.log(room), seq=place)
            changed = self.names.changed(room, 0, "x").removesuffix("0.x") + ">"
            await self._jet.purge_stream(self.names.changes_stream, subject=changed, seq=changes + 1)
        except self._errors as exc:
            raise BusAway.of(exc) from exc

    # ------------------------------------------------------------ in

    async def listen(self, subject: str, heard: Callable[[Msg], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Have `heard` called with what is told on `subject`, one after the other; returns what ends it.

        Raises:
            BusAway: the connection has ended.
        """
        try:
            subscription = await self._nats.subscribe(subject, cb=heard)
        except self._errors as exc:
            raise BusAway.of(exc) from exc

        async def end() -> None:
            try:
                await subscription.unsubscribe()
            except self._errors:
                log.debug("bus: not unsubscribed")

        return end

    async def read(self, room: str, place: int) -> list[Stored]:
        """The next messages of a room's log from `place` on, at most `READ_AT_ONCE`.

        Raises:
            BusAway: they cannot be read now.
        """
        return await self._get(
            self.names.log_stream,
            {"seq": place, "next_by_subj": self.names.log(room), "batch": READ_AT_ONCE, "max_bytes": READ_BYTES},
        )

    async def last(self, room: str, place: int) -> Stored | None:
        """The last message of a room's log up to `place`.

        Raises:
            BusAway: it cannot be read now.
        """
        asked = {"multi_last": [self.names.log(room)], "up_to_seq": place}
        found = await self._get(self.names.log_stream, asked)
        return found[-1] if found else None

    async def end(self, room: str) -> int:
        """The place of the newest message of a room's log, as the server knows it that orders them; 0: there is none.

        Raises:
            BusAway: it cannot be read now.
        """
        from nats.js.errors import NotFoundError

        try:
            found = await self._jet.get_last_msg(self.names.log_stream, self.names.log(room))
        except NotFoundError:
            return 0
        except self._errors as exc:
            raise BusAway.of(exc) from exc
        return found.seq or 0

    async def change(self, subject: str) -> Stored | None:
        """The last change with this subject.

        Raises:
            BusAway: it cannot be read now.
        """
        found = await self._get(self.names.changes_stream, {"multi_last": [subject]})
        return found[-1] if found else None

    async def changes(self, room: str, seqs: Sequence[int]) -> list[Stored]:
        """Everything that says that these lines are not what the log says.

        Raises:
            BusAway: it cannot be read now.
        """
        found: list[Stored] = []
        for at in range(0, len(seqs), MAX_SUBJECTS):
            subjects = [self.names.changed(room, seq, "*") for seq in seqs[at : at + MAX_SUBJECTS]]
            found += await self._get(self.names.changes_stream, {"multi_last": subjects})
        return found

    async def _get(self, stream: str, asked: Mapping[str, object]) -> list[Stored]:
        """Many messages at once (NATS ADR-31): they follow each other, ended by one with a status."""
        found: list[Stored] = []
        try:
            inbox = self._nats.new_inbox()
            subscription = await self._nats.subscribe(inbox)
            try:
                await self._nats.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(asked).encode(), reply=inbox)
                while True:
                    answer = await subscription.next_msg(ANSWER_SECONDS)
                    headers = answer.headers or {}
                    if "Status" in headers:
                        if headers["Status"] in ("204", "404"):
                            return found
                        raise BusAway(f"The bus does not answer ({headers['Status']}).")
                    found.append(
                        Stored(
                            int(headers["Nats-Sequence"]),
                            int(headers.get("Nats-Last-Sequence", 0)),
                            headers["Nats-Subject"],
                            answer.data,
                        )
                    )
            finally:
                await subscription.unsubscribe()
        except self._errors as exc:
            raise BusAway.of(exc) from exc
