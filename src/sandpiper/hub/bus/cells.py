"""Single values of the cluster, each under a key, set only by who knows what was there: a NATS key-value bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sandpiper.hub.bus.away import BusAway

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

LAST_PLACE = "Nats-Expected-Last-Subject-Sequence"
WRONG_PLACE = frozenset({10071, 10164})  # of the NATS server: the last message with the subject is not the expected one


class Cell(NamedTuple):
    """A value and its revision, which the next one has to name."""

    raw: bytes
    revision: int


class Cells:
    """One bucket. Its keys are letters, digits, `-`, `_`, `=` and `.`."""

    def __init__(self, jet: JetStreamContext, bucket: KeyValue, name: str, errors: tuple[type[Exception], ...]) -> None:
        self._jet = jet
        self._bucket = bucket
        self._subject = f"$KV.{name}."
        self._errors = errors

    async def get(self, key: str) -> Cell | None:
        """The value; None: there is none.

        Raises:
            BusAway: it cannot be read now.
        """
        from nats.js.errors import KeyNotFoundError

        try:
            found = await self._bucket.get(key)
        except KeyNotFoundError:
            return None
        except self._errors as exc:
            raise BusAway.of(exc) from exc
        return Cell(found.value or b"", found.revision or 0)

    async def put(self, key: str, raw: bytes, revision: int | None = None, seconds: float | None = None) -> bool:
        """Set it, for so long if that is said; only if its last value has this `revision` (0: there is none; None:
        whatever it is), else False.

        Raises:
            BusAway: it is not known whether it was set.
        """
        from nats.js.errors import APIError

        headers = {} if revision is None else {LAST_PLACE: str(revision)}
        try:
            await self._jet.publish(f"{self._subject}{key}", raw, headers=headers, msg_ttl=seconds)
        except APIError as exc:
            if exc.err_code in WRONG_PLACE:
                return False
            raise BusAway.of(exc) from exc
        except self._errors as exc:
            raise BusAway.of(exc) from exc
        return True
