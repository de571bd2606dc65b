"""The doctor looks at real directories and history files."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandpiper.config import Paths
from sandpiper.faces.doctor.facts import Facts, Profile
from sandpiper.faces.doctor.judges.folder import judge_data, judge_history
from sandpiper.faces.doctor.probes.folder import probe_folder
from sandpiper.store.history import History, open_history
from sandpiper.store.profile import open_profile
from sandpiper.store.schema import MIGRATIONS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights are POSIX")


@pytest.fixture
def paths(home: Path) -> Paths:
    home.chmod(0o700)
    return Paths.find()


@pytest.fixture
def alice(paths: Paths) -> Path:
    """A profile that was used once and closed: its directory."""
    with open_profile(paths, "alice") as profile:
        open_history(profile.history).history.close()
    return profile.directory


def the(paths: Paths, name: str = "") -> Profile:
    folder = probe_folder(paths, name)
    assert len(folder.profiles) == 1
    return folder.profiles[0]


def listing(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mode) for path in root.rglob("*"))


def test_profile_that_was_closed_is_whole_and_private_and_left_as_it_is(paths: Paths, alice: Path):
    before = listing(paths.data_dir)
    folder = probe_folder(paths, "")
    assert folder.refused is None
    assert (folder.free or 0) > 0
    assert {finding.status for finding in judge_data(Facts(folder=folder))} <= {"ok", "warn"}
    profile = folder.profiles[0]
    assert (profile.name, profile.history, profile.version, profile.mode) == ("alice", "ok", len(MIGRATIONS), 0o700)
    assert profile.bytes > 0
    assert not profile.loose
    assert not profile.running
    assert listing(paths.data_dir) == before


def test_profile_in_use_is_read_and_named_with_its_process(paths: Paths):
    with open_profile(paths, "alice") as profile:
        opened = open_history(profile.history)
        try:
            found = the(paths)
        finally:
            opened.history.close()
    assert found.history == "ok"
    if sys.platform == "linux":
        assert (found.running, found.pid) == (True, os.getpid())


def test_looking_does_not_take_the_lock(paths: Paths, alice: Path):
    fcntl = pytest.importorskip("fcntl")
    with (alice / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        probe_folder(paths, "")  # would need it alone
        with (alice / "lock").open("w") as again:
            fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_folder_that_is_not_there_is_not_made(paths: Paths):
    absent = Paths(paths.config_dir, paths.data_dir / "a" / "b", paths.log_dir)
    folder = probe_folder(absent, "")
    assert (folder.exists, folder.refused, folder.profiles) == (False, None, ())
    assert list(paths.data_dir.iterdir()) == []


def test_wrong_rights_are_found_and_the_printed_commands_mend_them(paths: Paths, alice: Path):
    paths.data_dir.chmod(0o777)
    alice.chmod(0o750)
    (alice / "identity").chmod(0o644)
    (alice / "history.db").chmod(0o640)
    found = [finding for finding in judge_data(Facts(folder=probe_folder(paths, ""))) if finding.status == "fail"]
    assert [finding.code for finding in found] == ["open_to_others"]
    assert len(found[0].fix) == 4
    for command in found[0].fix:
        subprocess.run(command, shell=True, check=True)
    assert "open_to_others" not in {finding.code for finding in judge_data(Facts(folder=probe_folder(paths, "")))}


NOBODY = 65534


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody in the block, when we are root: root may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_folder_without_rights_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, which nobody may enter
        home = Path(folder)
        home.chmod(0o555)
        try:
            with without_rights():
                found = probe_folder(Paths(home, home, home), "")
        finally:
            home.chmod(0o700)
    assert found.refused is not None
    assert not found.full


def test_file_in_place_of_the_folder_is_told(paths: Paths, tmp_path: Path):
    (tmp_path / "file").write_text("")
    folder = probe_folder(Paths(paths.config_dir, tmp_path / "file", paths.log_dir), "")
    assert folder.refused is not None
    assert {finding.code for finding in judge_data(Facts(folder=folder))} >= {"not_writable"}


def test_damaged_history_is_found_and_left_alone(paths: Paths, alice: Path):
    path = alice / "history.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert the(paths).history == "damaged"
    path.write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)
    assert the(paths).history == "damaged"
    assert path.read_bytes().startswith(b"this is no database")
    finding = judge_history(Facts(folder=probe_folder(paths, "")))[0]
    assert (finding.status, finding.code) == ("fail", "damaged")


def test_damaged_file_kept_aside_is_listed_once(paths: Paths, alice: Path):
    (alice / "history.db").write_bytes(b"not a database at all, not a database at all" * 30)
    opened = open_history(alice / "history.db")
    opened.history.close()
    assert opened.damaged is not None
    (alice / f"{opened.damaged.name}-wal").write_bytes(b"")
    profile = the(paths)
    assert profile.history == "ok"
    assert profile.aside == (str(opened.damaged),)


def test_history_of_a_later_version_or_of_another_program_is_told(paths: Paths, alice: Path):
    path = alice / "history.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert (the(paths).history, the(paths).version) == ("newer", 99)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (n)")
    db.close()
    assert the(paths).history == "foreign"


def test_history_with_unfinished_writing_beside_it_is_read(paths: Paths, alice: Path):
    history = History(alice / "history.db")
    try:
        assert (alice / "history.db-wal").exists()
        assert the(paths).history == "ok"
    finally:
        history.close()


def test_chosen_profile_alone_is_looked_at(paths: Paths, alice: Path):
    open_profile(paths, "bob").close()
    assert [profile.name for profile in probe_folder(paths, "").profiles] == ["alice", "bob"]
    assert the(paths, "Bob").name == "bob"


def test_profile_is_called_by_its_name_not_its_directory(paths: Paths):
    open_profile(paths, "jörg w").close()
    assert the(paths).name == "jörg w"
