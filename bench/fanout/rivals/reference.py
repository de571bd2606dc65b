"""The upper bound: `reference.c`, one send for each receiver in each turn of an epoll loop, no chat at all."""

from __future__ import annotations

from bench.fanout.rivals import Rival

RIVAL = Rival(
    "C reference",
    "lines",
    lambda site: [str(site.built / "reference"), str(site.port)],
    lambda: None,  # without a compiler there is no load either
    bound=True,
)
