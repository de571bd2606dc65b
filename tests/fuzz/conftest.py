from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.arena import Arena

pytest.register_assert_rewrite("tests.fuzz.arena")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory, multicast_groups: Iterator[str]) -> Iterator[Arena]:
    from tests.fuzz.arena import Arena

    with Arena(tmp_path_factory.mktemp("arena"), next(multicast_groups)) as arena:
        yield arena
