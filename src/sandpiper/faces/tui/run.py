"""The full-screen face's life: screen and backstage together, and what is said once the terminal is back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

from sandpiper.faces.signals import EXIT_INTERRUPTED, heeded
from sandpiper.faces.tui.backstage import NodeBackstage

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

    from sandpiper.faces.settings import TuiSettings
    from sandpiper.faces.signals import Asked
    from sandpiper.faces.tui.views import Ask
    from sandpiper.node import NodeSettings
    from sandpiper.store.profile import Profile

log = logging.getLogger(__name__)

EXIT_FAILED = 1
STUCK_SECONDS = 5.0  # from a signal until the screen has ended; it takes some tenths
SWITCH_SECONDS = 0.0005  # that the node's thread keeps a key waiting at each of its steps; Python's 5 ms add up to 50
# Paints a second at most. After one that took longer than its turn, Textual (8.2) leaves out the next turn as well: at
# its 60 a letter waits up to 33 ms more. What is told is shown 20 times a second whatever stands here.
FPS = 250
GC_THRESHOLDS = 20_000, 20, 50  # looking for cycles all the time makes keys wait up to 100 ms
GOODBYE_SECONDS = 10.0  # goodbyes and the disk; a process that is still there after this is taken for stuck


def hurry() -> None:
    """Have the interpreter and Textual let no key wait. Call it before Textual is loaded."""
    os.environ.setdefault("TEXTUAL_FPS", str(FPS))
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)


def run(
    open_profile: Callable[[Ask], Profile],
    node_settings: Callable[[], NodeSettings],
    settings: TuiSettings,
    save: Callable[[str, str], None] | None = None,
) -> int:
    """Chat on the whole screen until somebody or something ends it; the exit code.

    `open_profile` and `node_settings` are called in the node's thread, once the screen is up. `save` keeps a setting
    that is changed there (its name and its value as text); it may wait for a disk.
    """
    hurry()
    from sandpiper.faces.tui.app import SandpiperApp

    backstage = NodeBackstage(open_profile, node_settings, settings)
    app = SandpiperApp(backstage, settings, save)
    gc.freeze()  # what is loaded by now is never let go of
    try:
        asked = asyncio.run(_shown(app, backstage))
    finally:
        backstage.stop()
        gone = backstage.join(GOODBYE_SECONDS)
    if not gone:
        log.error("the node has not ended in %.0f s", GOODBYE_SECONDS)
    error = app._exception  # what is public of it is a return code
    if error is None and app.panicked:
        error = RuntimeError("the terminal could not be read")
    if error is not None:
        from sandpiper.faces.sentences import failed

        log.critical("the screen failed", exc_info=error)
        _say(failed(error, settings.log_file))
        return EXIT_FAILED
    ended = backstage.ended
    if ended is not None and ended.sentence and not (asked and not backstage.opened):
        _say(ended.sentence)
        return ended.code
    return app.return_code or 0


async def _shown(app: App[int], backstage: NodeBackstage) -> Asked | None:
    """Run the screen; which signal ended it, if one did."""
    asked: Asked | None = None
    app.error_console.file = io.StringIO()  # Textual's own account of a failure shows what all variables held

    def stop(reason: Asked) -> None:
        nonlocal asked
        asked = reason
        app.exit(return_code=EXIT_INTERRUPTED if reason == "interrupt" else 0)

    def give_back() -> None:
        driver = app._driver
        if driver is not None:
            with contextlib.suppress(Exception):
                driver.stop_application_mode()

    def begun(reason: Asked) -> None:
        end = threading.Timer(STUCK_SECONDS, _end_stuck, (backstage, reason))
        end.daemon = True
        end.start()

    with heeded(stop, give_back, begun):
        await app.run_async()
    return asked


def _end_stuck(backstage: NodeBackstage, reason: Asked) -> None:
    """The screen has not ended: its terminal takes nothing any more, and it waits for that. The node need not."""
    backstage.stop()
    backstage.join(GOODBYE_SECONDS)
    log.warning("the terminal stood still: ended without it")
    os._exit(EXIT_INTERRUPTED if reason == "interrupt" else 0)


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal is closed
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()
