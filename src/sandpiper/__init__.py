"""Sandpiper: terminal chat that connects people any way it can."""

__version__ = "0.1.0"
