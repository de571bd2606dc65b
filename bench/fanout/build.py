"""Compiles the load generator and the reference server, where they are needed, into a folder of their own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PROGRAMS = ("loadgen", "reference")
FLAGS = ("-O3", "-march=native", "-Wall", "-Wextra", "-D_GNU_SOURCE")


@contextlib.contextmanager
def built() -> Iterator[Path]:
    """The folder with both programs, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="fanout-") as folder:
        Path(folder).chmod(0o755)
        for name in PROGRAMS:
            subprocess.run(["cc", *FLAGS, "-o", f"{folder}/{name}", str(HERE / f"{name}.c")], check=True)
        yield Path(folder)
