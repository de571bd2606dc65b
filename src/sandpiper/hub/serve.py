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
from sandpiper.hub.listener import Listener
from sandpiper.hub.metrics import Watched, gather, render, resident_bytes
from sandpiper.hub.ready import tell_system
from sandpiper.hub.serving import GOODBYE, ChatServer
from sandpiper.hub.settings import RELOADED, HubSettings, LoadedHub
from sandpiper.hub.storing import hub_key, open_history
from sandpiper.hub.tls import fingerprint, self_signed, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from sandpiper.hub.history import History

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
LAG_EVERY = 1.0  # seconds between two measurements of the loop's lag
COUNTS_EVERY = 3600.0  # seconds between two lines of counts in the log
SPARE_FILES = 64  # beside the guests': history, log, listening sockets, the system's own
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
        self._chat: ChatServer
        self.listener: Listener
        self._fingerprint = ""

    # ------------------------------------------------------------ start and end

    async def start(self) -> None:
        """Open everything, the port last.

        Raises:
            ConfigError: the certificate, the key or a directory cannot be used.
            StoreError: the history cannot be opened.
            LinkError: the port cannot be used.
        """
        settings = self.settings
        front = self._front(self._loaded)
        hub_id = hub_key(self._data).key
        self._history = open_history(settings, self._data)
        try:
            kept = CountedHistory(self._history, self.counts)
            self._chat = ChatServer(settings.chat(hub_id), kept)
            self._started = self._chat.now().mono
            self.listener = Listener(self._chat, front, self.counts, self.page)
            await self.listener.open(settings.host, settings.port)
            await self._chat.start()
            await self.listener.start()
        except BaseException:
            await self._history.aclose()
            raise
        for text in self._greeting():
            log.info("%s", text)

    def _greeting(self) -> list[str]:
        settings, port = self.settings, self.listener.port
        where = ", ".join(settings.host) or "all addresses of this machine"
        lines = [f"serving the chat on port {port} of {where}, process {os.getpid()}"]
        if self._fingerprint:
            lines.append(f"TLS on the same port; SHA-256 of the certificate, to pin: {self._fingerprint}")
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
        try:
            await self._chat.aclose()
            await self.listener.aclose()
        finally:
            await self._history.aclose()
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
        if isinstance(self._history, Watched) and self._history.problem is not None:
            problems.append("The history cannot be written.")
        status = "closing" if self.listener.closing else "failing" if problems else "ok"
        return Health(status, len(self._chat.house.guests), int(self._uptime()), tuple(problems))

    def _uptime(self) -> float:
        return self._chat.now().mono - self._started

    def _figures(self) -> str:
        counts, house = self.counts, self._chat.house
        return (
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
            front = self._front(fresh)
        except SandpiperError as exc:
            log.warning("settings stay as they were: %s", exc.sentence())
        else:
            self._take_over(fresh, front)
        tell_system("READY=1")

    def _take_over(self, fresh: LoadedHub, front: Front) -> None:
        for warning in fresh.warnings:
            log.warning("%s", warning)
        old, new = self.settings, fresh.settings
        changed = [name for name in HubSettings.__struct_fields__ if getattr(old, name) != getattr(new, name)]
        taken = {name: getattr(new, name) for name in changed if name in RELOADED}
        late = [name for name in changed if name not in RELOADED]
        if bool(front.tls) != bool(self.listener.front.tls) and not late:
            late.append("tls")
        if fresh.password != self._loaded.password:
            changed.append("password")
        self.settings = msgspec.structs.replace(old, **taken)
        self._loaded = fresh
        self.listener.front = msgspec.structs.replace(front, loopback_counts=old.count_loopback)
        house = self._chat.house
        house.settings = msgspec.structs.replace(
            house.settings,
            operators=frozenset(new.operators),
            connections=new.connections,
            connections_an_address=new.connections_an_address,
            guests_a_room=new.guests_a_room,
            rooms=new.rooms,
        )
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
            await asyncio.wait((stop, hub.listener.life), return_when=asyncio.FIRST_COMPLETED)
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
    if soft != resource.RLIM_INFINITY and soft < guests + SPARE_FILES:
        log.warning(
            "only %d files may be open, so at most some %d guests of %d come in; raise the limit (ulimit -n, "
            "LimitNOFILE=) or set connections lower",
            soft, max(0, soft - SPARE_FILES), guests,
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
