"""What the tests of this lane share: a lab, and a public network in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.testing.netlab import NetLab, available

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandpiper.testing.netlab import Host, Internet

PUBLIC = "11.0.0.0/24"  # routers, the doctor and we tell private addresses, and those for documentation, from others


@pytest.fixture
def lab() -> Iterator[NetLab]:
    """One that is gone after the test."""
    if reason := available():
        pytest.skip(reason)
    with NetLab() as lab:
        yield lab


@pytest.fixture
def internet(lab: NetLab) -> Internet:
    """A public network; nothing leaves the lab."""
    return lab.internet(subnet=PUBLIC)


@pytest.fixture
def far(lab: NetLab, internet: Internet) -> Host:
    """A host out there."""
    return lab.host("far", internet)
