"""What is raised when the cluster's bus cannot be used."""

from __future__ import annotations

from typing import Self

from sandpiper.errors import LinkError


class BusAway(LinkError):
    """The cluster's NATS servers do not answer."""

    code = "bus_away"

    @classmethod
    def of(cls, exc: Exception) -> Self:
        """Because of an error of the NATS program, whose text may name more than anybody should read."""
        return cls(f"The bus does not answer ({type(exc).__name__}).", hint="It is tried again.")
