"""A real `sandpiper` process in line mode with JSON events, driven and watched by a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from typing_extensions import override

from sandpiper.store.reader import Message, Reader
from tests.process import Process

SANDPIPER = Path(sys.executable).with_name("sandpiper")
Event = dict[str, Any]
Start = Callable[..., "subprocess.Popen[str]"]


class Program(Process[str]):
    """`sandpiper --json` under a nick; `start` runs it elsewhere (a lab host's `popen`)."""

    def __init__(
        self,
        nick: str,
        home: Path,
        *args: str,
        start: Start | None = None,
        env: dict[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """`args` are more options; `command` is run instead of `sandpiper` with its usual ones."""
        self.nick = nick
        self.home = home
        self.events: list[Event] = []
        self.errors: list[str] = []
        command = command or (str(SANDPIPER), "--plain", "--json", "--no-input", "--nick", nick, *args)
        env = {"SANDPIPER_HOME": str(home), **(env or {})}
        pipe = subprocess.PIPE
        super().__init__(
            subprocess.Popen(command, env={**os.environ, **env}, text=True, stdin=pipe, stdout=pipe, stderr=pipe)
            if start is None
            else start(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
        )
        self.follow(self._read_events)
        self.follow(self._read_errors)

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append({**json.loads(line), "at": time.monotonic()})
                self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    # ------------------------------------------------------------ what it is told

    def say(self, *lines: str) -> None:
        """Type lines."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    @override
    def stop(self) -> None:
        """End of input, then whatever it takes."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            with suppress(subprocess.TimeoutExpired, BrokenPipeError):
                self.process.stdin.close()
                self.process.wait(15)
        super().stop()

    # ------------------------------------------------------------ what it shows

    @override
    def told(self) -> str:
        """The last events and errors."""
        tail = "\n".join(map(str, self.events[-8:]))
        return f"{self.nick}:\n{tail}\n{''.join(self.errors[-20:])}"

    def wait(self, predicate: Callable[["Program"], object], seconds: float = 20, what: str = "") -> None:
        """`until`, with the time first."""
        self.until(predicate, what, seconds)

    def of(self, kind: str) -> list[Event]:
        """Events of one kind."""
        return [event for event in self.events if event["event"] == kind]

    def shows(self, text: str, seconds: float = 5) -> None:
        """Wait until a message with this text is on the screen."""
        self.wait(lambda me: text in me.texts(), seconds, text)

    def links(self, nicks: set[str], seconds: float = 5) -> None:
        """Wait until exactly these are linked."""
        self.wait(lambda me: me.linked() == nicks, seconds, f"links to {nicks}")

    def texts(self) -> list[str]:
        """Texts of all messages shown, in the order of the screen."""
        return [event["text"] for event in self.of("message")]

    def linked(self) -> set[str]:
        """Nicks of peers that are linked now."""
        state: dict[str, str] = {}
        for event in self.of("peer"):
            state[event["nick"]] = event["state"]
        return {nick for nick, is_ in state.items() if is_ == "linked"}

    def ready(self, seconds: float = 20) -> "Program":
        """Wait until it says that it is."""
        self.wait(lambda me: me.of("ready"), seconds, "ready")
        return self

    # ------------------------------------------------------------ what it keeps

    @property
    def database(self) -> Path:
        """Its history file."""
        return self.home / "profiles" / self.nick / "history.db"

    def history(self) -> list[Message]:
        """All messages that it keeps of its open rooms, in order."""
        with Reader(self.database) as reader:
            return [
                message for room in reader.rooms() if room.kind == "open" for message in reader.everything(room.room)
            ]
