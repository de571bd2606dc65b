"""`sandpiper relay` as people start it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.process import Process
from tests.program import SANDPIPER
from tests.relayed import Caller, free_port
from tests.served import HOST

if TYPE_CHECKING:
    from pathlib import Path


class Started(Process[str]):
    """The program, and its lines."""

    def __init__(self, home: Path, *args: str) -> None:
        self.lines: list[str] = []
        env = {**os.environ, "SANDPIPER_HOME": str(home)}
        command = (str(SANDPIPER), "relay", *args)
        super().__init__(subprocess.Popen(command, env=env, text=True, stderr=subprocess.PIPE))
        self.follow(self._read)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def tells(self, words: str) -> None:
        self.until(lambda me: words in "".join(me.lines), words)


def test_its_file_says_where_it_listens_and_a_flag_says_otherwise(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    file = tmp_path / "relay.toml"
    file.write_text(f'port = {ports[0]}\nhost = ["{HOST}"]\n', encoding="utf-8")
    for more, port in (((), ports[0]), (("--port", str(ports[1])), ports[1])):
        with Started(tmp_path, "--config", str(file), *more) as relay:
            relay.tells(f"serving the rendezvous and the relay on port {port}")
            with Caller(port) as one:
                assert one.ask(type="observe")["relay"]
            relay.process.terminate()
            assert relay.process.wait(10) == 0


def test_port_8000_is_where_it_is_looked_for(tmp_path: Path) -> None:
    from sandpiper.cli.relaying import DEFAULTS
    from sandpiper.hub.settings import load
    from sandpiper.net.relays import parse_relay

    settings = load({}, env={}, defaults=DEFAULTS).settings
    assert settings.port == parse_relay("relay.example").port == 8000
    assert settings.introduces
    assert settings.no_history


def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    with Started(tmp_path, "--host", HOST, "--port", "0") as first:
        first.tells("on port ")
        port = "".join(first.lines).partition("on port ")[2].split()[0]
        second = subprocess.run(
            (str(SANDPIPER), "relay", "--host", HOST, "--port", port),
            env={**os.environ, "SANDPIPER_HOME": str(tmp_path / "other")},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 3
        assert "in use" in second.stderr
