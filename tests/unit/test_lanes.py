"""The rules of tests/conftest.py, checked on a small suite of its own in a pytest of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
CONFIG = """
[tool.pytest]
strict = true
asyncio_default_fixture_loop_scope = "function"
markers = ["unit", "sim", "links", "ui", "net", "fuzz", "slow"]
"""
PASSES = "def test_it():\n    pass"
SKIPS = {
    "in_call": "import pytest\ndef test_it():\n    pytest.skip('no tmux')",
    "by_mark": "import pytest\n@pytest.mark.skip(reason='no tmux')\ndef test_it():\n    pass",
    "in_fixture": "import pytest\n@pytest.fixture\ndef tmux():\n    pytest.skip('no tmux')\ndef test_it(tmux): ...",
    "of_module": "import pytest\npytest.skip('no tmux', allow_module_level=True)",
}
EXPECTED = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False"


def run_suite(root: Path, tests: dict[str, str], *options: str, required: str = "") -> tuple[int, str]:
    """Run `tests` (path below tests/ to source) under our conftest; return the exit code and what was printed."""
    (root / "tests").mkdir()
    (root / "pyproject.toml").write_text(CONFIG, encoding="utf-8")
    shutil.copy(CONFTEST, root / "tests")
    for name, source in tests.items():
        path = root / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--import-mode=importlib", *options],
        cwd=root,
        env={**os.environ, "SANDPIPER_REQUIRE_LANES": required},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_every_kind_of_skip_in_a_required_lane_fails_with_its_reason(tmp_path: Path):
    tests = {f"ui/test_{kind}.py": source for kind, source in SKIPS.items()}
    code, output = run_suite(tmp_path, tests, "--continue-on-collection-errors", required="unit,ui")
    assert code == pytest.ExitCode.TESTS_FAILED
    for name in tests:
        assert f"tests/{name}" in output
    assert output.count("the lane 'ui' must not skip") >= len(SKIPS)
    assert output.count("no tmux") >= len(SKIPS)
    assert "1 failed, 3 errors" in output


def test_skips_in_other_lanes_and_expected_failures_are_let_be(tmp_path: Path):
    tests = {f"ui/test_{kind}.py": source for kind, source in SKIPS.items()}
    tests |= {"unit/test_expected.py": EXPECTED, "unit/test_passes.py": PASSES}
    code, output = run_suite(tmp_path, tests, required="unit")
    assert code == pytest.ExitCode.OK
    assert "1 passed, 4 skipped, 1 xfailed" in output


def test_unknown_required_lane_is_refused(tmp_path: Path):
    code, output = run_suite(tmp_path, {"unit/test_a.py": PASSES}, required="units")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no such lane: units" in output


def test_test_outside_the_lanes_is_refused(tmp_path: Path):
    code, output = run_suite(tmp_path, {"test_a.py": PASSES})
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_a.py::test_it is in no lane" in output


def test_lane_is_selected_by_its_folder(tmp_path: Path):
    code, output = run_suite(tmp_path, {"unit/test_a.py": PASSES, "sim/test_b.py": PASSES}, "-m", "sim")
    assert code == pytest.ExitCode.OK
    assert "PASSED tests/sim/test_b.py::test_it" in output
    assert "1 passed, 1 deselected" in output


def test_lanes_that_fill_the_machine_run_on_one_worker(tmp_path: Path):
    source = (
        "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_it(n, worker_id):\n    print('on', worker_id)"
    )
    tests = {"net/test_a.py": source, "slow/test_b.py": source, "unit/test_c.py": PASSES}
    code, output = run_suite(tmp_path, tests, "-n", "2", "--dist", "loadgroup")
    assert code == pytest.ExitCode.OK
    assert len({line for line in output.splitlines() if line.startswith("on gw")}) == 1


def test_tests_stay_on_the_loopback_interface_and_out_of_the_profile_and_keyring_of_the_user(
    tmp_path_factory: pytest.TempPathFactory,
):
    assert os.environ["SANDPIPER_INTERFACES"].startswith("lo")
    assert os.environ["SANDPIPER_MULTICAST"] != "224.0.0.1:9999"
    assert Path(os.environ["SANDPIPER_HOME"]).is_relative_to(tmp_path_factory.getbasetemp())
    assert os.environ["PYTHON_KEYRING_BACKEND"] == "keyring.backends.fail.Keyring"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_each_test_has_a_home_and_a_multicast_group_of_its_own(
    nth: int, home: Path, multicast: str, seen: set[str | Path]
):
    assert os.environ["SANDPIPER_HOME"] == str(home)
    assert os.environ["SANDPIPER_MULTICAST"] == multicast
    assert list(home.iterdir()) == []
    assert not seen & {home, multicast}
    seen |= {home, multicast}


@pytest.fixture(scope="module")
def seen() -> set[str | Path]:
    return {os.environ["SANDPIPER_MULTICAST"]}
