"""The history on disks that are really full or really read-only (mounting them takes root on Linux)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandpiper.errors import StoreError
from sandpiper.store.history import History, open_history
from sandpiper.store.reader import Reader
from sandpiper.testing.conformance import refused
from tests.unit.authors import GENERAL, JOIN_GENERAL, Author, keep

CAN_MOUNT = sys.platform == "linux" and os.geteuid() == 0
pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason="mounting file systems takes root on Linux")


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "sandpiper-test", str(where))
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True, capture_output=True, timeout=30)


def texts(path: Path) -> list[str]:
    with Reader(path) as reader:
        return [message.text for message in reader.page(GENERAL, limit=10_000)]


def test_on_a_disk_that_is_really_full_nothing_is_half_kept_and_later_it_works_again(disk):
    path, ballast = disk / "history.db", disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    author, kept = Author(1), ["first"]
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        (last,) = keep(history, author.write("first"))
        for _ in range(3):
            with refused(StoreError, code="disk_full"):
                for _ in range(1000):
                    text = f"{len(kept)} " + "x" * 2000
                    (last,) = keep(history, author.write(text))
                    kept.append(text)
            author.last[GENERAL] = last
            assert texts(path) == kept
            with refused(StoreError, code="disk_full"):
                keep(history, author.write("y" * 16_000))
            author.last[GENERAL] = last
        ballast.unlink()
        keep(history, author.write("there is room again"))
        assert texts(path) == [*kept, "there is room again"]
    again = open_history(path)
    assert again.damaged is None
    (room,) = again.history.load_rooms()
    assert len(room.logs[0].clocks) == len(kept) + 1
    again.history.close()


def test_a_first_start_on_a_full_disk_is_told_and_leaves_nothing_in_the_way(disk):
    path, ballast = disk / "history.db", disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2_000_000))
    with refused(StoreError, code="disk_full"):
        open_history(path)
    ballast.unlink()
    opened = open_history(path)
    assert opened.damaged is None
    opened.history.close()


def test_a_read_only_folder_is_told_with_what_to_do_and_can_still_be_read(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "history.db"
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        keep(history, Author(1).write("hello"))
    before = path.read_bytes()
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        with pytest.raises(StoreError) as caught:
            open_history(path)
        assert caught.value.code == "not_writable"
        assert "SANDPIPER_HOME" in caught.value.hint
        assert [file.name for file in folder.iterdir()] == ["history.db"]
        assert path.read_bytes() == before
        assert texts(path) == ["hello"]
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True, timeout=30)
    opened = open_history(path)
    assert opened.damaged is None
    opened.history.close()
