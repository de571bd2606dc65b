"""Every error Sandpiper raises on purpose, in branches named by who must act.

An error's text is written for the person who reads it: what happened, why, and what to do next.
`code` is the stable word that `--json` and the wire use; `hint` is the next step on its own.
Process exit codes (product page): 0 ok, 1 failure, 2 usage, 3 network or no peer, 4 wrong code or
password, 5 key changed or verification failed, 6 timeout, 130 interrupted.
"""

from __future__ import annotations


class SandpiperError(Exception):
    """Root of all our errors."""

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code

    def sentence(self) -> str:
        """The message with its next step, as one line for a person."""
        return f"{self} {self.hint}".strip()


class UsageError(SandpiperError):
    """The person typed something that cannot be done; they must type something else."""

    code = "usage"
    exit_code = 2


class ConfigError(SandpiperError):
    """A setting, profile or its file is wrong; its owner must mend it."""

    code = "config"
    exit_code = 2


class StoreError(SandpiperError):
    """The disk or the history file failed; its owner must make room or move it aside."""

    code = "store"


class LinkError(SandpiperError):
    """A link failed; the node retries by itself."""

    code = "link"
    exit_code = 3


class DialFailed(LinkError):
    """Nothing answered at an address."""

    code = "dial_failed"


class LinkLost(LinkError):
    """The other side or the network ended the link."""

    code = "link_lost"


class LinkTimeout(LinkError):
    """The other side said nothing for too long."""

    code = "timeout"
    exit_code = 6


class LocalProtocolError(SandpiperError):
    """We broke a protocol rule: a bug of ours."""

    code = "bug"


class RemoteProtocolError(SandpiperError):
    """The other side broke a protocol rule; its link is dropped. `code` says which rule."""

    code = "protocol"
    exit_code = 3


class TrustError(SandpiperError):
    """A key or signature is not what it must be. Never retried, always shown."""

    code = "trust"
    exit_code = 5
