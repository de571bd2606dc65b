"""One network namespace: made, entered, and home to processes that die with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from socket import socket as Socket
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from sandpiper.testing.netlab.commands import NetLabError, command, ip_batch, tool
from sandpiper.testing.netlab.leftovers import KILL_SECONDS, NETNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO, TypeAlias

    # What subprocess takes for a standard stream: a file, a descriptor, or one of its constants.
    Stream: TypeAlias = IO[str] | IO[bytes] | int | None

P = ParamSpec("P")
T = TypeVar("T")

RUN_SECONDS = 30.0

_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace on this machine, with the programs that run in it.

    Use one from one thread at a time. All calls block, mostly for milliseconds; :meth:`run` and :meth:`call` block as
    long as what they run, so an async test wraps these in ``asyncio.to_thread``.
    """

    def __init__(self, name: str, netns: str, env: Mapping[str, str] | None = None) -> None:
        """Name a namespace, not made yet (see :meth:`create`); `env` is what its programs get beside our own."""
        self.name = name
        self.netns = netns
        self._env = dict(env or {})
        self._processes: list[subprocess.Popen[str]] = []

    @property
    def env(self) -> dict[str, str]:
        """A fresh copy of the environment that programs started in here get.

        It is this process's, without the SANDPIPER_* variables, since they are about another machine, and with those
        of this one.
        """
        ours = {name: value for name, value in os.environ.items() if not name.startswith("SANDPIPER_")}
        return {**ours, **self._env}

    def create(self, sysctls: Mapping[str, str]) -> None:
        """Make it in the kernel with loopback up; `sysctls` are paths below /proc/sys/net with their values.

        Raises:
            NetLabError: the kernel refused, or has no such setting.
        """
        command([tool("ip"), "netns", "add", self.netns], step=f"make the namespace of {self.name}")
        self.ip(["link set lo up"], step=f"bring up loopback on {self.name}")

        def write() -> None:
            for path, value in sysctls.items():
                Path("/proc/sys/net", path).write_text(value, encoding="ascii")

        try:
            self.call(write)
        except OSError as error:
            raise NetLabError(
                f"The network lab could not configure {self.name}: {error}. "
                "If this kernel has no IPv6, make the LAN with ipv6=False."
            ) from error

    def ip(self, lines: Sequence[str], *, step: str) -> None:
        """Run lines of ``ip -batch`` in here. Raises NetLabError when one fails."""
        ip_batch(self.netns, lines, step=step)

    # -- Python inside ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling *thread* into this network: sockets, threads and processes made in the block belong to it.

        Never await inside the block: other tasks of the loop would be in this network too. A socket stays in the
        network in which it was opened, so usually :meth:`socket` or :meth:`call` is what you want.

        Raises:
            NetLabError: the namespace is gone.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._set_thread_network()
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a thread of its own inside this network and give what it returns (or raise what it raises).

        Raises:
            NetLabError: the namespace is gone.
        """

        def inside() -> T:
            self._set_thread_network()
            return function(*args, **kwargs)

        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self.netns)
        try:
            return pool.submit(inside).result()
        finally:
            pool.shutdown(wait=False)  # the result is there, or we were interrupted and must not wait for it

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0) -> Socket:
        """Open a socket that lives in this network, usable from any thread or event loop. The caller closes it.

        Raises:
            NetLabError: the namespace is gone.
        """
        return self.call(Socket, family, type, proto)

    def _set_thread_network(self) -> None:
        """Move the calling thread into this network."""
        try:
            target = os.open(NETNS / self.netns, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NetLabError(
                f"The network of {self.name} is gone ({self.netns}). Use it only while its NetLab is open."
            ) from error
        try:
            _setns(target)
        finally:
            os.close(target)

    # -- programs inside ----------------------------------------------------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """Give the command line that runs `argv` in here, for asyncio.create_subprocess_exec, a pty, or a person.

        The process it makes becomes `argv` itself (same process id). Teardown finds and kills it too.
        """
        return [tool("ip"), "netns", "exec", self.netns, *argv]

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> subprocess.Popen[str]:
        """Start a program in here, in a process group of its own, with text pipes; teardown kills it and its group.

        `env` is laid over :attr:`env`. Pipes that are still open at teardown are closed then.

        Raises:
            NetLabError: it could not be started.
        """
        try:
            process = subprocess.Popen(
                self.command(argv),
                env={**self.env, **(env or {})},
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise NetLabError(
                f"The network lab could not start {argv[0]} on {self.name}: {error}. Check the folder and the program."
            ) from error
        self._processes = [other for other in self._processes if other.poll() is None or _has_open_pipe(other)]
        self._processes.append(process)
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        input: str | None = None,
        timeout: float = RUN_SECONDS,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in here to its end, with its output captured as text; `timeout` in seconds.

        `env` is laid over :attr:`env`.

        Raises:
            NetLabError: it could not be started, did not end in time (it and its group are killed), or, with `check`,
                ended with a status other than 0.
        """
        pipe = subprocess.PIPE
        process = self.popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL if input is None else pipe, stdout=pipe, stderr=pipe
        )
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired as error:
            stderr = self.end(process)
            raise NetLabError(
                f"`{' '.join(argv)}` on {self.name} did not end within {timeout:g} s and was killed. "
                f"Give it a longer timeout, or see why it hangs; its stderr: {stderr or 'empty'}"
            ) from error
        finally:
            _end(process)
            self._processes = [other for other in self._processes if other is not process]
        if check and process.returncode != 0:
            raise NetLabError(
                f"`{' '.join(argv)}` on {self.name} ended with status {process.returncode}. "
                f"Its stderr: {stderr.strip() or 'empty'}"
            )
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    def end(self, process: subprocess.Popen[str]) -> str:
        """Kill one program of :meth:`popen` and its group now; give what was unread in its stderr pipe, if any."""
        _kill_group(process)
        said = _last_words(process)
        _end(process)
        self._processes = [other for other in self._processes if other is not process]
        return said

    def kill_processes(self) -> None:
        """Kill every program started with :meth:`popen` and its process group, reap it, and close its pipes."""
        for process in self._processes:
            _kill_group(process)
        for process in self._processes:
            _end(process)
        self._processes.clear()


def _setns(target: int) -> None:
    """Move the calling thread into a network namespace (setns(2); os.setns is there only from Python 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(target, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NetLabError(
            f"The network lab could not change a thread's network: {os.strerror(number)}. It needs to be root."
        )


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a process with its group; not once it has been reaped, when its id may already be somebody else's."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """Make sure that a process is dead and reaped, and its pipes closed."""
    _kill_group(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was still to be written has no reader any more
                pipe.close()


def _has_open_pipe(process: subprocess.Popen[str]) -> bool:
    """Tell whether a pipe of the process waits to be closed."""
    return any(not pipe.closed for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None)


def _last_words(process: subprocess.Popen[str]) -> str:
    """Give the unread stderr of a killed process; a grandchild that left the group may hold the pipe: not for ever."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()  # communicate() would fail to flush it, and could not tell which pipe it was
        process.stdin = None
    try:
        return (process.communicate(timeout=1)[1] or "").strip()
    except (subprocess.TimeoutExpired, ValueError):  # ValueError: the caller has closed its pipes
        return ""
