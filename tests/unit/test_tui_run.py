"""What the full screen's life sets up before anything of it is loaded."""

import subprocess
import sys

HURRY = """
import sys
from sandpiper.faces.tui import run
assert "textual" not in sys.modules, "too late to say how often it paints"
run.hurry()
from textual.screen import UPDATE_PERIOD
print(UPDATE_PERIOD, sys.getswitchinterval())
"""


def test_a_letter_struck_while_the_screen_is_painted_waits_for_no_further_turn() -> None:
    """Textual leaves out the turn after a paint that took longer than its own: turns are short, so that it is no wait
    to speak of. 4 ms each; at its usual 60 a second a letter waited up to 33 ms more.
    """
    said = subprocess.run([sys.executable, "-c", HURRY], capture_output=True, text=True, check=True).stdout.split()
    assert [float(number) for number in said] == [1 / 250, 0.0005]
