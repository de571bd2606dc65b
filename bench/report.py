"""What a benchmark has to say, kept as JSON lines and as a table that names the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
LINES = HERE / "results.jsonl"
TABLE = HERE / "RESULTS.md"


@dataclass(frozen=True)
class Result:
    """One row: ours, the rival's, and the goal as a person would say it. `met` None: nothing to compare with."""

    bench: str
    what: str
    unit: str
    ours: float
    rival_name: str
    rival: float | None
    ratio: float | None
    goal: str
    met: bool | None
    note: str = ""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(values: Sequence[float]) -> str:
    """Lowest, median and highest, for the note."""
    return f"{min(values):.3g} / {statistics.median(values):.3g} / {max(values):.3g} over {len(values)} runs"


def machine() -> str:
    """What this ran on, without naming it."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "pynacl", "cryptography"))
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"sandpiper {version('sandpiper-chat')}, {packages}"
    )


def keep(results: list[Result]) -> None:
    """Append to the JSON lines file, and write the table anew from the newest run of every benchmark."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    with LINES.open("a") as lines:
        for result in results:
            lines.write(json.dumps({"at": stamp, "machine": machine(), **asdict(result)}) + "\n")
    newest: dict[tuple[str, str], tuple[str, str, Result]] = {}
    for line in LINES.read_text().splitlines():
        row = json.loads(line)
        at, on = row.pop("at"), row.pop("machine")
        newest[row["bench"], row["what"]] = (at, on, Result(**row))
    table = [
        "# Results of `make bench`",
        "",
        "The newest run of each benchmark. Shared machines are noisy: compare the ratios, not the figures.",
        "",
        "| bench | what | ours | rival | ratio | goal | met |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for at, on, r in newest.values():
        rival = f"{r.rival:.4g} {r.unit} ({r.rival_name})" if r.rival is not None else r.rival_name or "-"
        ratio = f"{r.ratio:.3g}" if r.ratio is not None else "-"
        met = {True: "yes", False: "**no**", None: "-"}[r.met]
        table.append(f"| {r.bench} | {r.what} | {r.ours:.4g} {r.unit} | {rival} | {ratio} | {r.goal} | {met} |")
        notes.append(f"- {r.bench}, {r.what}: {r.note + '; ' if r.note else ''}{at}, {on}")
    table += ["", "Notes:", "", *notes]
    TABLE.write_text("\n".join(table) + "\n")
    print("\n".join(table), flush=True)
