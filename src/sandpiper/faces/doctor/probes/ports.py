"""Tries the TCP ports that sandpiper would listen on, and looks up who has those that are taken."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.facts import Holder, Ports
from sandpiper.faces.doctor.fixes import TCP_RANGE
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_TAKEN = 8  # taken ports that are named
LOOK_SECONDS = 1.0  # for finding the process: a machine may have many
_LISTEN = "0A"


def probe_ports(wanted: int) -> Ports:
    """`wanted` 0: the whole range. Binds as the node does and lets go at once."""
    first, last = TCP_RANGE
    forbidden, taken = "", []
    if wanted:
        try:
            _bind(wanted)
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                taken.append(wanted)
            else:
                forbidden = exc.strerror or str(exc)
        else:
            return Ports(wanted=wanted, free=wanted)
    free = None
    for port in range(first, last + 1):
        if port == wanted:
            continue
        try:
            _bind(port)
        except OSError:
            if not wanted:
                taken.append(port)
            continue
        free = port
        break
    return Ports(wanted=wanted, free=free, taken=tuple(_holders(taken[:MOST_TAKEN])), forbidden=forbidden)


def _bind(port: int) -> None:
    """Listen on a port of all addresses for an instant.

    Raises:
        OSError: it cannot be had.
    """
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no IPv6 here
        with sock:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((host, port))
                sock.listen(1)
            except OSError as exc:
                if exc.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6:
                    continue
                raise


def _holders(ports: list[int]) -> Iterator[Holder]:
    sockets = _listening() if sys.platform == "linux" and ports else {}
    owners = _owners({inode for inode, port in sockets.items() if port in ports})
    for port in ports:
        pids = [owners[inode] for inode, other in sockets.items() if other == port and inode in owners]
        yield Holder(port=port, pid=pids[0] if pids else 0, program=_program(pids[0]) if pids else "")


def _listening() -> dict[str, int]:
    """Port by inode of the socket that listens on it, from /proc/net/tcp (Linux, proc(5))."""
    found: dict[str, int] = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/self/net", name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[3] == _LISTEN:
                found[words[9]] = int(words[1].rpartition(":")[2], 16)
    return found


def _owners(inodes: set[str]) -> dict[str, int]:
    """Process by inode of a socket that it holds; only our own processes can be seen, all of them as root."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, int] = {}
    limit = time.monotonic() + LOOK_SECONDS
    for folder in Path("/proc").glob("[0-9]*"):
        if len(found) == len(links) or time.monotonic() > limit:
            break
        for target in _open_files(folder):
            if target in links:
                found[links[target]] = int(folder.name)
    return found


def _open_files(folder: Path) -> Iterable[str]:
    try:
        names = os.listdir(folder / "fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(folder / "fd" / name)
        except OSError:
            continue


def _program(pid: int) -> str:
    try:
        return clean_line(Path(f"/proc/{pid}/comm").read_text("utf-8", "replace"), 40)
    except OSError:
        return ""
