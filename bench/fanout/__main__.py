"""The race by hand: `python -m bench.fanout` for the quick set, `--full` for all of it; prints Markdown tables."""

from __future__ import annotations

import argparse
import os

from bench.fanout.build import built
from bench.fanout.load import TEXT, raise_limits, unable
from bench.fanout.matrix import (
    FULL,
    GUESTS,
    IDLE,
    QUICK,
    ROUNDS,
    SECONDS,
    Figures,
    joins,
    latency,
    memory,
    say,
    throughput,
)
from bench.fanout.rivals import everyone
from bench.fanout.tables import join_table, latency_table, rate_table

PARTS = ("throughput", "latency", "join", "memory")


def main() -> None:
    """Run the parts that were asked for."""
    asked = argparse.ArgumentParser(prog="python -m bench.fanout", description=__doc__)
    asked.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of: {', '.join(PARTS)}")
    asked.add_argument("--full", action="store_true", help="the whole throughput matrix, not the quick set")
    asked.add_argument("--only", default="", help="rivals whose name holds one of these words: hub,nats")
    asked.add_argument("--text", type=int, default=TEXT, help="bytes of text in a message (16 to 512)")
    asked.add_argument("--seconds", type=float, default=SECONDS, help="of each throughput run")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--guests", type=int, default=GUESTS, help="for the join rate")
    asked.add_argument("--idle", type=int, default=IDLE, help="for the memory of idle guests")
    args = asked.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        asked.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if reason := unable():
        raise SystemExit(f"This machine cannot run the race: {reason}.")
    raise_limits()
    rivals = [r for r in everyone() if not args.only or any(word in r.name for word in args.only.split(","))]
    for rival in rivals:
        if reason := rival.missing():
            say(f"without {rival.name}: {reason}")
    rivals = [rival for rival in rivals if not rival.missing()]
    race = {rival.name: Figures() for rival in rivals}
    points = FULL if args.full else QUICK
    with built() as programs:
        if "throughput" in args.parts:
            throughput(rivals, points, programs, race, text=args.text, rounds=args.rounds, seconds=args.seconds)
            print(rate_table(race, points, args.text))
        if "latency" in args.parts:
            latency(rivals, programs, race)
            print(latency_table(race))
        if {"join", "memory"} & set(args.parts):
            if "join" in args.parts:
                joins(rivals, programs, race, args.guests)
            if "memory" in args.parts:
                memory(rivals, programs, race, args.idle)
            print(join_table(race, args.guests, args.idle))
    print(f"\nLoad average at the end: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
