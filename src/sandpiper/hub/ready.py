"""Tells systemd how the service is (sd_notify(3)): one datagram, when it has asked for that."""

from __future__ import annotations

import os
import socket
import time


def tell_system(state: str) -> None:
    """`READY=1`, `RELOADING=1` or `STOPPING=1`. Elsewhere, and when nobody listens, nothing happens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return
    if state == "RELOADING=1":  # with the time, so that systemd can tell this reload's READY=1
        state += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)
    except OSError:
        return
