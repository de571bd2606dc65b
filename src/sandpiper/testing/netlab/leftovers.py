"""Names a lab's namespaces after its creator, and removes the remains of creators that have died.

A lab's prefix is ``sp<pid>.<start>.<serial>``: the creator's process id, the clock tick at which that process started
(so that a reused id is not mistaken for the creator), and a serial number within the process. Everything the lab
makes outside its own memory bears it: namespaces in /run/netns, its folder in the temporary directory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.testing.netlab.commands import NetLabError, command, tool

if TYPE_CHECKING:
    from collections.abc import Collection

NETNS = Path("/run/netns")

# A process that was sent SIGKILL is gone within milliseconds, unless it hangs in the kernel.
KILL_SECONDS = 5.0
# Processes found in a namespace may have forked while they were being killed: look again, but not for ever.
KILL_ROUNDS = 5

_OF_A_LAB = re.compile(r"sp(\d+)\.(\d+)\.\d+-")
_serials = itertools.count(1)


def new_prefix() -> str:
    """Give a prefix that no other lab on this machine has."""
    return f"sp{os.getpid()}.{_started(os.getpid()) or 0}.{next(_serials)}"


def names_with(prefix: str) -> list[str]:
    """List the namespaces that the lab with this prefix has in the kernel now."""
    return [name for name in _listing(NETNS) if name.startswith(f"{prefix}-")]


def remove_leftovers() -> list[str]:
    """Remove namespaces, their processes and folders of labs whose creator is dead; give the namespaces' names.

    Safe when several labs start at once: each tolerates that another was faster.

    Raises:
        NetLabError: a namespace could not be removed.
    """
    stale = [name for name in _listing(NETNS) if _is_stale(name)]
    if stale:
        remove_namespaces(stale)
    temporary = Path(tempfile.gettempdir())
    for name in _listing(temporary):
        folder = temporary / name
        if _is_stale(name) and folder.is_dir() and folder.lstat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
    return stale


def remove_namespaces(names: Collection[str]) -> None:
    """Kill the processes in these namespaces, then remove the namespaces; those already gone are fine.

    Raises:
        NetLabError: a namespace is still there afterwards.
    """
    kill_inside(names)
    present = [name for name in names if (NETNS / name).exists()]
    if not present:
        return
    batch = "".join(f"netns del {name}\n" for name in present)
    failure: NetLabError | None = None
    try:
        command([tool("ip"), "-force", "-batch", "-"], step="remove its network namespaces", stdin=batch)
    except NetLabError as error:
        failure = error  # another lab may have been faster: what counts is whether they are gone
    remaining = [name for name in present if (NETNS / name).exists()]
    if remaining:
        raise NetLabError(
            f"The network lab left {', '.join(remaining)} behind: {failure or 'ip gave no reason'}. "
            "Remove them by hand with `ip netns del NAME`."
        ) from failure


def kill_inside(names: Collection[str]) -> None:
    """Kill (SIGKILL, each by its own id) every process whose network is one of these namespaces, and wait for its end.

    The calling process is spared even when its main thread is inside.
    """
    networks = {inode for inode in (_inode(NETNS / name) for name in names) if inode is not None}
    for _ in range(KILL_ROUNDS):
        handles = _handles_inside(networks)
        if not handles:
            return
        ended = select.poll()
        deadline = time.monotonic() + KILL_SECONDS
        try:
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended.register(handle, select.POLLIN)
            waiting = len(handles)
            while waiting and (left := deadline - time.monotonic()) > 0:
                for handle, _event in ended.poll(left * 1000):
                    ended.unregister(handle)
                    waiting -= 1
        finally:
            for handle in handles:
                os.close(handle)


def _handles_inside(networks: Collection[tuple[int, int]]) -> list[int]:
    """Open a pidfd of each process inside; checked after opening, so that a reused process id can not be hit."""
    handles = []
    for pid in [int(name) for name in _listing(Path("/proc")) if name.isdigit()]:
        if pid == os.getpid() or _inode(Path(f"/proc/{pid}/ns/net")) not in networks:
            continue
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            if _inode(Path(f"/proc/{pid}/ns/net")) in networks:
                handles.append(handle)
            else:
                os.close(handle)
    return handles


def _inode(path: Path) -> tuple[int, int] | None:
    """Identify the namespace behind a path, or None when it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listing(folder: Path) -> list[str]:
    """List a folder that may not exist."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _is_stale(name: str) -> bool:
    """Tell whether the name is that of a lab whose creator no longer lives."""
    match = _OF_A_LAB.match(name)
    return match is not None and _started(int(match[1])) != int(match[2])


def _started(pid: int) -> int | None:
    """Give the clock tick since boot at which a living process started (proc(5), stat, fields 3 and 22), else None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, *fields = stat[stat.rindex(")") + 1 :].split()
    return None if state in "ZX" else int(fields[18])
