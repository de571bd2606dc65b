"""`sandpiper serve`: the hub as a program, from its settings to its goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sandpiper.errors import SandpiperError
from sandpiper.hub.counted import CountedHistory
from sandpiper.hub.counts import Counts
from sandpiper.hub.door import Front
from sandpiper.hub.http import FORBIDDEN, METRICS, NOT_FOUND, Health, Page, Request, health_page
from sandpiper.hub.introducing import Introductions
from sandpiper.hub.listener import Listener, connections_within
from sandpiper.hub.metrics import gather, render, resident_bytes
from sandpiper.hub.ready import tell_system
from sandpiper.hub.serving import GOODBYE, ChatServer
from sandpiper.hub.settings import RELOADED, HubSettings, LoadedHub
from sandpiper.hub.storing import hub_key, open_history
from sandpiper.hub.tls import fingerprint, self_signed, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from sandpiper.hub.bus.cluster import Cluster
    from sandpiper.hub.history import History

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
LAG_EVERY = 1.0  # seconds between two measurements of the loop's lag
COUNTS_EVERY = 3600.0  # seconds between two lines of counts in the log
MOST_FILES = 1 << 20  # asked for at most: Linux allows no more without a change of its own settings
CERTIFICATE = "tls.pem"


class Hub:
    """One hub, from `start` to `aclose`. `read_again` settles the settings anew; `data` is its directory."""

    def __init__(self, loaded: LoadedHub, data: Path, read_again: Callable[[], LoadedHub]) -> None:
        self.settings = loaded.settings
        self.counts = Counts()
        self._loaded = loaded
        self._data = data
        self._read_again = read_again
        self._started = 0.0
        self._history: History
        self._bus: Cluster | None = None
        self._chat: ChatServer
        self.listener: Listener
        self._fingerprint = ""

    # ------------------------------------------------------------ start and end

    async def start(self) -> None:
        """Open everything, the port last.

        Raises:
            ConfigError: the certificate, the key or a directory cannot be used.
            StoreError: the history cannot be opened.
            LinkError: the port cannot be used, or the cluster's bus does not answer.
        """
        settings = self.settings
        front = self._front(self._loaded)
        hub_id = hub_key(self._data).key
        self._bus = await self._open_bus()
        self._history = self._bus.history if self._bus is not None else open_history(settings, self._data)
        async with contextlib.AsyncExitStack() as undoing:
            undoing.push_async_callback(self._history.aclose)
            kept = CountedHistory(self._history, self.counts)
            self._chat = ChatServer(settings.chat(hub_id), kept, self.counts, self._bus)
            if self._bus is not None:
                await self._bus.start(self._chat)
            self._started = self._chat.now().mono
            self.listener = Listener(self._chat, front, self.counts, self.page)
            if settings.introduces:
                self.listener.introductions = Introductions(settings.introductions(), self._chat.now)
            await self._chat.start()
            undoing.push_async_callback(self._chat.aclose)
            await self.listener.start()
            undoing.push_async_callback(self.listener.aclose)
            if settings.second_port:
                await self.listener.open(settings.host, settings.second_port, second=True)
            await self.listener.open(settings.host, settings.port)
            undoing.pop_all()
        for text in self._greeting():
            log.info("%s", text)

    async def _open_bus(self) -> Cluster | None:
        if not self.settings.bus:
            return None
        from sandpiper.hub.bus.choosing import open_bus

        return await open_bus(self.settings, self._loaded.bus_token, self._data)

    def _greeting(self) -> list[str]:
        settings, port = self.settings, self.listener.port
        where = ", ".join(settings.host) or "all addresses of this machine"
        beside = [role for role in settings.roles if role != "chat"]
        main = "the chat" if len(beside) < len(settings.roles) else " and ".join(f"the {role}" for role in beside)
        lines = [f"serving {main} on port {port} of {where}, process {os.getpid()}"]
        if beside and main == "the chat":
            lines.append(f"on the same port: {', '.join(beside)}")
        if settings.second_port:
            lines.append(f"also on port {self.listener.second_port}, by which peers tell their kind of NAT")
        if self._fingerprint:
            lines.append(f"TLS on the same port; SHA-256 of the certificate, to pin: {self._fingerprint}")
        if "chat" not in settings.roles:
            return lines
        lines.append(f"programs of guests remember this hub by key:{self._chat.house.settings.id.hex()}")
        if not self._loaded.password and not settings.tls_only:
            lines.append("whoever reaches this port may read and write, and so may who listens on the way")
        if settings.no_history:
            lines.append("messages are in memory only, and gone when the hub ends")
        return lines

    def _front(self, loaded: LoadedHub) -> Front:
        settings = loaded.settings
        return Front(
            tls=self._tls(settings),
            tls_only=settings.tls_only,
            password=loaded.password,
            motd=settings.motd,
            loopback_counts=settings.count_loopback,
            chat="chat" in settings.roles,
        )

    def _tls(self, settings: HubSettings) -> ssl.SSLContext | None:
        if settings.tls:
            certificate = key = self_signed(self._data / CERTIFICATE, settings.name)
        elif settings.tls_cert:
            certificate, key = Path(settings.tls_cert), Path(settings.tls_key)
        else:
            return None
        context = server_context(certificate, key)
        self._fingerprint = fingerprint(certificate)
        return context

    async def aclose(self) -> None:
        """Say goodbye to everybody, let them take what was said, write the history, and end."""
        self.listener.closing = GOODBYE
        log.info("closing: %d guests are told", len(self._chat.house.guests))
        async with contextlib.AsyncExitStack() as ends:  # all of them, whatever goes wrong with one
            ends.push_async_callback(self._history.aclose)
            ends.push_async_callback(self.listener.aclose)
            ends.push_async_callback(self._chat.aclose)
            if self.listener.introductions is not None:
                await self.listener.introductions.aclose()
        log.info("closed after %s; %s", _duration(self._uptime()), self._figures())

    # ------------------------------------------------------------ pages

    def page(self, request: Request, *, local: bool) -> Page:
        """The answer to an HTTP request."""
        wanted = self.settings.metrics
        if request.path == "/healthz":
            return health_page(self.health())
        if request.path != "/metrics" or wanted == "off":
            return NOT_FOUND
        if wanted == "local" and not local:
            return FORBIDDEN
        return Page(200, render(gather(self.listener, self._history, self._started, self._chat.now().mono)), METRICS)

    def health(self) -> Health:
        """How the hub is."""
        problems = []
        if self.listener.closing:
            problems.append("The hub is closing.")
        if self._history.problem is not None:
            problems.append("The history cannot be written.")
        status = "closing" if self.listener.closing else "failing" if problems else "ok"
        return Health(status, len(self._chat.house.guests), int(self._uptime()), tuple(problems))

    @property
    def lives(self) -> list[asyncio.Future[None]]:
        """What the hub cannot be without: when one of them ends, so does the hub."""
        return [self.listener.life, self._chat.life, *([self._bus.life] if self._bus is not None else [])]

    def _uptime(self) -> float:
        return self._chat.now().mono - self._started

    def _figures(self) -> str:
        counts, house = self.counts, self._chat.house
        introductions = self.listener.introductions
        return (f"{introductions.figures()}; " if introductions is not None else "") + (
            f"{len(house.guests)} guests, {len(house.rooms)} rooms; since the start {counts.joins['chat']:,} joins, "
            f"{counts.messages:,} messages, {sum(count for _, count in counts.turned_away.items()):,} turned away; "
            f"{resident_bytes() >> 20} MiB, lag {counts.worst_lag * 1000:.0f} ms"
        )

    # ------------------------------------------------------------ while it runs

    async def watch(self) -> None:
        """Measure the loop's lag, and log the counts now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        told = loop.time()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            now = loop.time()
            self.counts.lagged(now - due)
            if now - told >= COUNTS_EVERY:
                told = now
                log.info("%s", self._figures())

    def reload(self) -> None:
        """Read the settings, the password and the certificate again, and take over what can be; log what cannot.
        When anything is wrong with them, all stays as it is.
        """
        tell_system("RELOADING=1")
        try:
            fresh = self._read_again()
            merged = self._merged(fresh.settings)
            front = self._front(msgspec.structs.replace(fresh, settings=merged))
        except SandpiperError as exc:
            log.warning("settings stay as they were: %s", exc.sentence())
        else:
            self._take_over(fresh, merged, front)
        tell_system("READY=1")

    def _merged(self, new: HubSettings) -> HubSettings:
        """Those in force, with what of `new` needs no restart."""
        merged = msgspec.structs.replace(self.settings, **{name: getattr(new, name) for name in RELOADED})
        if merged.tls_only and not (merged.tls or merged.tls_cert):  # its certificate takes a restart, and so it does
            return msgspec.structs.replace(merged, tls_only=self.settings.tls_only)
        return merged

    def _take_over(self, fresh: LoadedHub, merged: HubSettings, front: Front) -> None:
        for warning in fresh.warnings:
            log.warning("%s", warning)
        old, new = self.settings, fresh.settings
        changed = [name for name in HubSettings.__struct_fields__ if getattr(old, name) != getattr(new, name)]
        late = [name for name in changed if getattr(merged, name) != getattr(new, name)]
        if fresh.password != self._loaded.password:
            changed.append("password")
        self.settings = merged
        self._loaded = fresh
        self.listener.front = front
        self._chat.reload(self.settings.chat(self._chat.house.settings.id), new.motd if "motd" in changed else "")
        self.counts.reloads += 1
        done = [name for name in changed if name not in late]
        log.info("settings were read again; changed: %s", ", ".join(done) or "none")
        if self._fingerprint:
            log.info("SHA-256 of the certificate: %s", self._fingerprint)
        if late:
            log.warning("only a restart changes: %s", ", ".join(late))


async def _run(hub: Hub) -> int:
    """Serve until a signal; the exit code. A second signal ends the process at once."""
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with _signals(stop, hub.reload):
        await hub.start()
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        tell_system("READY=1")
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(hub.watch(), name="hub watch")
            ends: list[asyncio.Future[int] | asyncio.Future[None]] = [stop, *hub.lives]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
        tell_system("STOPPING=1")
        await hub.aclose()
    return stop.result() if stop.done() else EXIT_FAILED


@contextlib.contextmanager
def _signals(stop: asyncio.Future[int], reload: Callable[[], None]) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT give `stop` the exit code, and after that they do what the system has them do: end
    the process at once. SIGHUP calls `reload`.
    """
    loop = asyncio.get_running_loop()

    def ask(number: int, code: int) -> None:
        for one in asked:
            loop.remove_signal_handler(one)
            signal.signal(one, signal.SIG_DFL)
        log.info("%s: the hub closes", signal.Signals(number).name)
        if not stop.done():
            stop.set_result(code)

    asked = {signal.SIGTERM: EXIT_OK, signal.SIGINT: EXIT_INTERRUPTED}
    if os.name != "posix":  # there loops take no signals
        before = signal.signal(
            signal.SIGINT, lambda *_: loop.call_soon_threadsafe(ask, signal.SIGINT, EXIT_INTERRUPTED)
        )
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        return
    for number, code in asked.items():
        loop.add_signal_handler(number, ask, number, code)
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def room_for_files(guests: int) -> None:
    """Raise this process's limit of open files to what is allowed, and say when it is too low for so many guests."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    most = connections_within(0 if soft == resource.RLIM_INFINITY else soft)[0]
    if most < guests:
        log.warning(
            "only %d files may be open, so at most some %d guests of %d come in; raise the limit (ulimit -n, "
            "LimitNOFILE=) or set connections lower",
            soft, most, guests,
        )  # fmt: skip


def _loop_factory(*, wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is wanted and installed; None: Python's own."""
    if wanted:
        try:
            import uvloop
        except ImportError:
            log.debug("uvloop is not installed")
        else:
            return uvloop.new_event_loop
    return None


def _duration(seconds: float) -> str:
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds) % 60} s"


def serve(loaded: LoadedHub, data: Path, read_again: Callable[[], LoadedHub]) -> int:
    """Serve until SIGTERM (exit code 0) or SIGINT (130).

    Raises:
        SandpiperError: it could not start.
    """
    room_for_files(loaded.settings.connections)
    with asyncio.Runner(loop_factory=_loop_factory(wanted=loaded.settings.uvloop)) as runner:
        return runner.run(_run(Hub(loaded, data, read_again)))
