"""The doctor's report and exit code."""

import json

from sandpiper.faces.doctor.findings import Finding, Status, exit_code
from sandpiper.faces.doctor.report import json_lines, text_lines

GOOD = Finding(check="port", status="ok", code="free", seen="Port 8080 is free.")
BAD = Finding(
    check="data",
    status="fail",
    code="not_writable",
    seen="/x cannot be written: Permission denied.",
    details=("one", "two"),
    why="Identity and history live there; sandpiper does not start without it, and this sentence is long.",
    fix=("chmod 700 /a/very/long/path/that/is/longer/than/the/terminal/is/wide/and/must/not/be/cut", "or else"),
)


def finding(check: str, status: Status) -> Finding:
    return Finding(check=check, status=status, code="x", seen="x")


def test_exit_code_tells_warnings_from_failures_and_those_of_the_network():
    network = frozenset({"peers", "reach"})
    assert exit_code([], network) == 0
    assert exit_code([finding("peers", "ok"), finding("data", "warn")], network) == 0
    assert exit_code([finding("peers", "fail")], network) == 3
    assert exit_code([finding("data", "fail")], network) == 1
    assert exit_code([finding("reach", "fail"), finding("data", "fail")], network) == 1
    assert exit_code([finding("reach", "fail"), finding("data", "warn")], network) == 3


def test_text_has_a_mark_and_what_to_do_for_each():
    lines = list(text_lines([GOOD, BAD], encoding="utf-8", columns=60))
    assert lines[0] == "✓ port       Port 8080 is free."
    assert lines[1] == "✗ data       /x cannot be written: Permission denied."
    assert lines[2:4] == ["    one", "    two"]
    assert lines[4].startswith("    why  Identity and history")
    assert lines[5].startswith("         ")
    assert f"    fix  {BAD.fix[0]}" in lines, "a command is never wrapped"
    assert "         or else" in lines
    assert lines[-1] == "1 failed, 1 well."
    assert all(len(line) <= 60 for line in lines if "chmod" not in line)


def test_text_without_unicode_keeps_its_marks_apart():
    warning = finding("clock", "warn")
    lines = list(text_lines([GOOD, warning, BAD], encoding="ascii", columns=80))
    assert [line.split()[0] for line in lines if line[:1].strip()][:3] == ["ok", "!!", "XX"]
    assert all(line.isascii() for line in lines)


def test_text_says_when_all_is_well():
    assert list(text_lines([GOOD], encoding="utf-8", columns=80))[-1] == "All is well."
    warned = [finding("clock", "warn"), GOOD]
    assert list(text_lines(warned, encoding="utf-8", columns=80))[-1] == "1 warning, 1 well."


def test_json_has_an_object_a_finding_and_a_summary():
    events = [json.loads(line) for line in json_lines([GOOD, BAD], 1, 1.23456)]
    assert events[0] == {
        "v": 1,
        "event": "finding",
        "check": "port",
        "status": "ok",
        "code": "free",
        "seen": "Port 8080 is free.",
        "details": [],
        "why": "",
        "fix": [],
    }
    assert next(json_lines([finding("ü", "ok")], 0, 0)).isascii()
    assert events[1]["fix"] == list(BAD.fix)
    assert events[2] == {"v": 1, "event": "summary", "ok": 1, "warn": 0, "fail": 1, "exit": 1, "seconds": 1.235}
