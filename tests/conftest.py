"""What all tests share: lanes from folders, the skip policy, and an environment that stays on this machine."""

import os
import socket
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

# Shipped, and full of assertions that should say what they compared; before any test imports it.
pytest.register_assert_rewrite("sandpiper.testing.conformance")

TESTS = Path(__file__).parent


class Lane(NamedTuple):
    """How one lane runs: `worker` is what its tests share under xdist (None: any worker), `timeout` in seconds."""

    worker: str | None = None
    timeout: int | None = None


# The lanes that open namespaces or fill the machine share one worker; those with real sockets and with terminals, which
# wait more than they work, have one each.
LANES = {
    "unit": Lane(),
    "sim": Lane(),
    "links": Lane(worker="sockets"),
    "ui": Lane(worker="terminals", timeout=180),
    "net": Lane(worker="machine", timeout=180),
    "fuzz": Lane(),
    "slow": Lane(worker="machine", timeout=900),
}

# No deadline: a slow machine is not a bug. The blob reproduces a failure elsewhere.
settings.register_profile("sandpiper", deadline=None, print_blob=True)
settings.load_profile("sandpiper")

required = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Read SANDPIPER_REQUIRE_LANES: lanes that must run in full, so that a skip in them is a failure."""
    names = frozenset(filter(None, os.environ.get("SANDPIPER_REQUIRE_LANES", "").replace(" ", "").split(",")))
    if unknown := names - LANES.keys():
        raise pytest.UsageError(f"SANDPIPER_REQUIRE_LANES: no such lane: {', '.join(sorted(unknown))}")
    config.stash[required] = names


def lane_of(path: Path) -> str | None:
    """Name the lane whose folder holds `path`, if any."""
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ()
    return parts[0] if len(parts) > 1 and parts[0] in LANES else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its lane, and with what the lane needs."""
    for item in items:
        name = lane_of(item.path)
        if name is None:
            raise pytest.UsageError(f"{item.nodeid} is in no lane; move it below tests/ to one of: {', '.join(LANES)}")
        lane = LANES[name]
        item.add_marker(name)
        if lane.worker:
            item.add_marker(pytest.mark.xdist_group(lane.worker))
        if lane.timeout and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(lane.timeout))


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, lane: str | None, config: pytest.Config) -> None:
    """Turn a skip in a required lane into a failure that names the reason."""
    if not report.skipped or hasattr(report, "wasxfail") or lane not in config.stash[required]:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: the lane {lane!r} must not skip (SANDPIPER_REQUIRE_LANES)\n{reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report, lane_of(item.path), item.config)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report, lane_of(collector.path), collector.config)
    return report


def free_groups() -> Iterator[str]:
    """Yield multicast groups with a port of their own, below the range from which systems hand out ports."""
    first, count = 20_000, 10_000
    start = os.getpid() * 97  # neighbouring processes start apart
    for step in range(count):
        port = first + (start + step) % count
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        yield f"224.0.0.1:{port}"
    raise RuntimeError("no free UDP port between 20000 and 29999")


@pytest.fixture(scope="session")
def multicast_groups() -> Iterator[str]:
    return free_groups()


@pytest.fixture(scope="session", autouse=True)
def stay_on_this_machine(tmp_path_factory: pytest.TempPathFactory, multicast_groups: Iterator[str]) -> Iterator[None]:
    """Keep tests, and the processes they start, off the network and out of the profile and keyring of who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        if "SANDPIPER_INTERFACES" not in os.environ:
            patch.setenv("SANDPIPER_INTERFACES", "lo0" if sys.platform == "darwin" else "lo")
        patch.setenv("SANDPIPER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SANDPIPER_MULTICAST", next(multicast_groups))
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SANDPIPER_HOME for this test."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("SANDPIPER_HOME", str(path))
    return path


@pytest.fixture
def multicast(multicast_groups: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A multicast group ("224.0.0.1:PORT") for this test alone, also in SANDPIPER_MULTICAST."""
    group = next(multicast_groups)
    monkeypatch.setenv("SANDPIPER_MULTICAST", group)
    return group
