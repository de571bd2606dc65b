"""Tools for testing programs built on Sandpiper: shipped, so that others can test their bots with them."""

from __future__ import annotations

from sandpiper.testing.simulation import Simulation

__all__ = ["Simulation"]
