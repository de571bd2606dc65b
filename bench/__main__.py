"""Run the quick set: `make bench`, or `make bench ARGS="records memory"` for some."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from bench.report import keep

if TYPE_CHECKING:
    from bench.report import Result

QUICK = ("first_message", "round_trip", "records", "memory", "screen", "fanout", "relay", "joining")


def main() -> None:
    """Run what was asked for, or everything."""
    results: list[Result] = []
    for name in sys.argv[1:] or QUICK:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results += importlib.import_module(f"bench.{name}").run()
    keep(results)


main()
