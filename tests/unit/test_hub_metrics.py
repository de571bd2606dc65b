"""The hub's metrics as Prometheus reads them, what is counted, and the hub's settings."""

import re
from pathlib import Path

import pytest

from sandpiper.cli.serving import serve
from sandpiper.crypto.identity import Identity
from sandpiper.errors import ConfigError
from sandpiper.hub.counted import CountedHistory
from sandpiper.hub.counts import LAG_SAMPLES, MAX_CODES, Counts, Tally
from sandpiper.hub.history import Batch, MemoryHistory
from sandpiper.hub.metrics import Family, process, render, resident_bytes
from sandpiper.hub.settings import RELOADED, HubSettings, load, settings_markdown, table

SAMPLE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-z_]+="([^"\\\n]|\\["\\n])*"(,|(?=\})))+\})? -?[0-9.e+-]+')


def test_every_line_is_one_that_prometheus_reads():
    labels = {"why": 'a "quoted"\nword\\'}
    families = [
        Family("hub_cuts_total", "counter", "Cuts\nby why.", ((labels, 2), ({"why": "slow"}, 1))),
        Family("hub_lag_seconds", "gauge", "Lag.", (({}, 0.25),)),
    ]
    text = render(families)
    assert text == (
        "# HELP hub_cuts_total Cuts\\nby why.\n# TYPE hub_cuts_total counter\n"
        'hub_cuts_total{why="a \\"quoted\\"\\nword\\\\"} 2\nhub_cuts_total{why="slow"} 1\n'
        "# HELP hub_lag_seconds Lag.\n# TYPE hub_lag_seconds gauge\nhub_lag_seconds 0.25\n"
    )
    for line in (text + render(process(0.0, 1.5))).splitlines():
        assert line.startswith("# ") or SAMPLE.fullmatch(line), line


def test_memory_is_of_this_process():
    assert 1 << 20 < resident_bytes() < 1 << 40


def test_a_tally_of_words_that_never_end_is_bounded():
    tally = Tally()
    for number in range(10 * MAX_CODES):
        tally.add(f"{number}")
    tally.add("1")
    assert len(tally.items()) == MAX_CODES + 1
    assert (tally["1"], tally["other"]) == (2, 9 * MAX_CODES)


def test_lag_is_the_newest_and_the_worst_of_a_minute():
    counts = Counts()
    for seconds in (0.5, 0.1, -0.2):
        counts.lagged(seconds)
    assert (counts.lag, counts.worst_lag) == (0.0, 0.5)
    for _ in range(LAG_SAMPLES):
        counts.lagged(0.001)
    assert counts.worst_lag == 0.001


async def test_what_is_kept_is_counted_by_the_batch_and_kept():
    counts, inner = Counts(), MemoryHistory()
    history = CountedHistory(inner, counts)
    history.append(Batch("lobby", "e", 1, 3, 0, b"a\nb\nc\n"))
    assert (counts.batches, counts.messages, counts.message_bytes) == (1, 3, 6)
    assert (await history.read("lobby", "e", 0, 10)).lines == (b"a", b"b", b"c")
    assert (await inner.read("lobby", "e", 0, 10)).lines == (b"a", b"b", b"c")


# ---------------------------------------------------------------- settings


def test_every_setting_has_its_option_of_the_same_name():
    options = {parameter.name: parameter.opts[0] for parameter in serve.params}
    for name, row in table().items():
        assert options[name] == row.flag
    assert options.keys() - table().keys() == {"file", "debug", "quiet"}
    assert set(table()) >= RELOADED


def test_no_option_takes_a_password():
    assert not any("password" in option and "file" not in option for one in serve.params for option in one.opts)


def test_defaults_are_those_of_the_chat():
    from sandpiper.hub.limits import ChatSettings

    assert HubSettings().chat(b"") == ChatSettings()


def test_keys_of_operators_are_read_in_both_spellings(tmp_path: Path):
    import base64

    keys = [Identity(bytes((n,)) * 32).key for n in (1, 2)]
    written = [keys[0].hex(), base64.b64encode(keys[1]).decode()]
    assert load({"operators": tuple(written)}, env={}).settings.operators == tuple(keys)
    assert load({}, env={"SANDPIPER_HUB_OPERATORS": ",".join(written)}).settings.operators == tuple(keys)
    file = tmp_path / "hub.toml"
    file.write_text(f"operators = {written}\n")
    assert load({}, str(file), env={}).settings.operators == tuple(keys)


def test_unknown_names_are_told_with_the_nearest(tmp_path: Path):
    file = tmp_path / "hub.toml"
    file.write_text('password = "x"\n\nprot = 5000\n')
    told = load({}, str(file), env={"SANDPIPER_HUB_MOTDD": "x", "SANDPIPER_HUB_PASSWORD": "y"})
    assert told.password == "y"
    assert "y" not in repr(told).replace("settings", "")
    assert [warning[warning.rindex("/") + 1 :] if "/" in warning else warning for warning in told.warnings] == [
        "hub.toml:1: 'password' is not a setting of a hub and is ignored. Put it into a file and name that with "
        "password_file, or into SANDPIPER_HUB_PASSWORD.",
        "hub.toml:3: 'prot' is not a setting of a hub and is ignored. Did you mean port?",
        "SANDPIPER_HUB_MOTDD in the environment is not a setting of a hub and is ignored. Did you mean motd?",
    ]


def test_an_empty_password_file_is_no_password(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("\nswan\n")
    with pytest.raises(ConfigError, match="is no password"):
        load({"password_file": str(file)}, env={})


def test_the_table_in_the_docs_is_the_real_one():
    assert settings_markdown() in Path("docs/deploy.md").read_text()
