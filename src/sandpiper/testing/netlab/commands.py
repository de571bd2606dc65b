"""Runs the system's network tools (``ip``, ``tc``, ``nft``) and tells in a sentence what went wrong.

Everything else in the lab goes through :func:`command`, so every failure names the step, the command, what the
command wrote to stderr, and what to do next.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from sandpiper.errors import SandpiperError

if TYPE_CHECKING:
    from collections.abc import Sequence

# A healthy command takes milliseconds; one that takes this long waits for a lock that will not come free.
COMMAND_SECONDS = 20.0

_PACKAGES = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")


class NetLabError(SandpiperError):
    """The network lab could not do what was asked: the text says what happened, why, and what to do next."""

    code = "netlab"


@functools.cache
def tool(name: str) -> str:
    """Give the full path of a system tool, looked for in PATH and in the system folders.

    Raises:
        NetLabError: the tool is not installed.
    """
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    found = shutil.which(name, path=folders)
    if found is None:
        raise NetLabError(
            f"The network lab needs the program `{name}`, and it is not installed here. "
            f"Install it, for example: apt-get install {_PACKAGES.get(name, name)}."
        )
    return found


def command(argv: Sequence[str], *, step: str, stdin: str = "") -> str:
    """Run one command to its end and give its stdout; `step` completes "could not …" in the error.

    Raises:
        NetLabError: it failed or did not end within COMMAND_SECONDS.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, env=_plain_env()
        )
    except OSError as error:
        raise NetLabError(
            f"The network lab could not {step}: `{shlex.join(argv)}` did not start: {error}. "
            "Check that the program is installed and may be run."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NetLabError(
            f"The network lab could not {step}: `{shlex.join(argv)}` did not end in {COMMAND_SECONDS:g} s. "
            "Something holds the kernel's network lock; look for hanging `ip` processes."
        ) from error
    if done.returncode != 0:
        raise NetLabError(_failure(argv, step, done.returncode, stdin, done.stderr.strip().rstrip(".")))
    return done.stdout


def ip_batch(netns: str, lines: Sequence[str], *, step: str) -> None:
    """Run many ``ip`` commands inside the namespace with one process; stops at the first that fails.

    Raises:
        NetLabError: a line failed; the lines before it have taken effect.
    """
    command([tool("ip"), "-n", netns, "-batch", "-"], step=step, stdin="".join(f"{line}\n" for line in lines))


def nft(netns: str, script: str, *, step: str) -> None:
    """Load an nftables script inside the namespace, all of it or nothing.

    Raises:
        NetLabError: nft is missing, or it or the kernel refused the script; nothing has changed then.
    """
    command([tool("ip"), "netns", "exec", netns, tool("nft"), "-f", "-"], step=step, stdin=script)


def _plain_env() -> dict[str, str]:
    """Give the environment in which tools write untranslated messages without colours."""
    return {**os.environ, "LC_ALL": "C", "NO_COLOR": "1"}


def _failure(argv: Sequence[str], step: str, status: int, stdin: str, stderr: str) -> str:
    """Compose the sentence of a failed command, with the line of its input that it complained about, if any."""
    said = "; ".join(stderr.splitlines()) or "no message"
    text = f"The network lab could not {step}: `{shlex.join(argv)}` ended with status {status}: {said}"
    named = re.search(r"Command failed -:(\d+)", stderr)
    lines = stdin.splitlines()
    if named is not None and int(named[1]) <= len(lines):
        text += f" (at `{lines[int(named[1]) - 1]}`)"
    return text + ". Next: run it by hand to see more; without root and CAP_NET_ADMIN the kernel refuses it."
