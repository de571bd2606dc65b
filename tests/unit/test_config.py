"""Settings: who wins, what is refused and how it is said, and that config.toml stays its owner's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper import config
from sandpiper.config import Address, Paths, Settings, load, parse_address, set_value
from sandpiper.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="mode bits and links as POSIX has them")

# One value for each setting that is not its default: as typed, and as it must arrive.
TYPED: dict[str, tuple[str, object]] = {
    "nick": ("alice", "alice"),
    "profile": ("work", "work"),
    "room": ("dev", "dev"),
    "port": ("8123", 8123),
    "multicast": ("239.1.2.3:7000", Address("239.1.2.3", 7000)),
    "interfaces": ("lo, eth0", ("lo", "eth0")),
    "compat": ("p2pchat", "p2pchat"),
    "linger": ("0.5", 0.5),
    "peers": ("10.0.0.5:8080,[::1]:9", (Address("10.0.0.5", 8080), Address("::1", 9))),
    "relay": ("relay.example, tls://other.example:444", ("relay.example", "tls://other.example:444")),
    "port_mapping": ("Off", "off"),
    "history_lines": ("0", 0),
    "colour": ("never", "never"),
    "theme": ("light", "light"),
    "emoji": ("Codes", "codes"),
    "notify": ("osc777", "osc777"),
    "keys": ("jump=ctrl+g, search=f3", ("jump=ctrl+g", "search=f3")),
    "qr": ("no", False),
    "keyring": ("off", False),
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.find({"SANDPIPER_HOME": str(tmp_path)})


def write(paths: Paths, text: str) -> None:
    paths.config_file.write_bytes(text.encode())


def test_every_setting_is_tried_here() -> None:
    assert TYPED.keys() == config.table().keys() == set(Settings.__struct_fields__)


def test_defaults_hold_without_any_source(paths: Paths) -> None:
    loaded = load(paths, {}, {})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


@pytest.mark.parametrize("name", TYPED)
def test_flag_beats_environment_beats_file_beats_default(paths: Paths, name: str) -> None:
    typed, expected = TYPED[name]
    row = config.table()[name]
    default = config.as_toml(row.default)

    def value_of(flags: dict[str, object], env: dict[str, str]) -> tuple[object, str]:
        loaded = load(paths, flags, env)
        return getattr(loaded.settings, name), loaded.sources[name]

    write(paths, f"\n{name} = {config.as_toml(expected)}\n")
    assert value_of({}, {}) == (expected, f"{paths.config_file}:2")
    write(paths, f"{name} = {default}\n")
    assert value_of({}, {row.env: typed}) == (expected, row.env)
    write(paths, "")
    default_text = str(row.default).lower() if row.default not in ("", ()) else ""
    assert value_of({name: expected}, {row.env: default_text}) == (expected, row.flag)
    assert value_of({name: typed}, {}) == (expected, row.flag)


@pytest.mark.parametrize("absent", [None, ()])
def test_flag_that_was_not_given_counts_for_nothing(paths: Paths, absent: object) -> None:
    loaded = load(paths, {"peers": absent}, {"SANDPIPER_PEERS": "a:1", "SANDPIPER_PORT": ""})
    assert loaded.settings.peers == (Address("a", 1),)
    assert loaded.sources["port"] == "default"


def test_flag_that_is_no_setting_is_our_bug(paths: Paths) -> None:
    with pytest.raises(TypeError, match="prot"):
        load(paths, {"prot": 1}, {})


def test_environment_of_the_process_is_the_default(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDPIPER_NICK", "eve")
    assert load(paths).settings.nick == "eve"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().nick = "eve"  # type: ignore[misc]


BAD = [
    ("port", "99999", "0 to 65535"),
    ("port", "-1", "0 to 65535"),
    ("port", "http", "whole number"),
    ("port", "80.5", "whole number"),
    ("multicast", "10.0.0.1:9999", "224.0.0.0"),
    ("multicast", "224.0.0.1", "ADDR:PORT"),
    ("multicast", "[ff02::1]:9999", "224.0.0.0"),
    ("linger", "nan", "0 to 3600"),
    ("linger", "inf", "0 to 3600"),
    ("linger", "soon", "0 to 3600"),
    ("peers", "a:1,b", "HOST:PORT"),
    ("peers", "::1", "[::1]:8080"),
    ("colour", "blue", "auto or always or never"),
    ("compat", "irc", "empty or p2pchat"),
    ("keyring", "maybe", "true or false"),
    ("nick", "a\x1b[31mb", "one line"),
    ("nick", "x" * 65, "at most 64"),
    ("room", "two\nlines", "one line"),
    ("interfaces", "lo,e\x07", "one line"),
    ("history_lines", "5001", "0 to 5000"),
    ("theme", "solarized", "auto or dark or light or none"),
    ("emoji", "ascii", "safe or joined or codes"),
    ("notify", "osc52", "off or bell or osc9 or osc777"),
    ("keys", "jump", "ACTION=KEY"),
    ("keys", "jump=ctrl+g,=f3", "ACTION=KEY"),
    ("keys", "Jump=ctrl+j", "ACTION=KEY"),
    ("keys", "jump=ctrl + j", "ACTION=KEY"),
    ("keys", "jump=\x1b[2J", "ACTION=KEY"),
    ("keys", "jump=" + "x" * 60, "ACTION=KEY"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_bad_value_names_its_source_and_what_is_allowed(paths: Paths, name: str, value: str, allowed: str) -> None:
    row = config.table()[name]
    in_file = f"{paths.config_file}:3"

    def refused(flags: dict[str, object], env: dict[str, str]) -> str:
        with pytest.raises(ConfigError) as caught:
            load(paths, flags, env)
        assert caught.value.exit_code == 2
        return caught.value.sentence()

    texts = {row.env: refused({}, {row.env: value}), row.flag: refused({name: value}, {})}
    write(paths, f"# a\n\n{name} = {config.as_toml(value)}\n")
    texts[in_file] = refused({}, {})
    for source, said in texts.items():
        assert said.startswith(f"{source}: {name} cannot be ")
        assert allowed in said
        assert said.isprintable()
        assert len(said) < 400 + len(in_file)


def test_bad_value_is_refused_although_another_source_overrides_it(paths: Paths) -> None:
    write(paths, 'port = "many"\n')
    with pytest.raises(ConfigError, match=r"config\.toml:1: port"):
        load(paths, {"port": 1}, {})


WRONG_KIND = """
port = true | port = 1.5 | port = [] | port = 1e400 | [port] | port.a = 1 | nick = 5 | nick = "a\\u0000b" | keyring = 1
keyring = [] | peers = 5 | peers = [5] | multicast = 5 | multicast = ["224.0.0.1", 9999] | colour = false
keys = [5] | keys = "jump" | keys = ["jump=a,search=b"] | theme = true
linger = true | linger = 2024-01-01 | interfaces = [1] | interfaces = { a = 1 }
"""


@pytest.mark.parametrize("line", WRONG_KIND.strip().replace("\n", " | ").split(" | "))
def test_toml_value_of_another_kind_is_refused(paths: Paths, line: str) -> None:
    write(paths, line + "\n")
    with pytest.raises(ConfigError, match=r"config\.toml:1: "):
        load(paths, {}, {})


@pytest.mark.parametrize("word", ["true", "YES", "on", "1", "false", "No", "off", "0"])
def test_switch_takes_the_usual_words(paths: Paths, word: str) -> None:
    assert load(paths, {}, {"SANDPIPER_KEYRING": word}).settings.keyring is (word in {"true", "YES", "on", "1"})


def test_empty_list_in_file_is_an_empty_list(paths: Paths) -> None:
    write(paths, 'interfaces = []\npeers = ["a:1", ""]\n')
    settings = load(paths, {}, {}).settings
    assert (settings.interfaces, settings.peers) == ((), (Address("a", 1),))


def test_keys_can_be_given_as_a_list_in_the_file_and_taken_away(paths: Paths) -> None:
    write(paths, 'keys = ["next-room=alt+j/f3", " quit= "]\n')
    assert load(paths, {}, {}).settings.keys == ("next-room=alt+j/f3", "quit=")
    set_value(paths, "keys", "")
    assert paths.config_file.read_text("utf-8") == "keys = []\n"


def test_unknown_key_is_named_with_its_line_and_the_nearest_setting(paths: Paths) -> None:
    write(paths, '# c\nprot = 1\nhistory-lines = 5\n"\\u001b[2J" = 1\n\n[lab]\nport = 5\n[[z]]\n')
    loaded = load(paths, {}, {})
    assert loaded.settings == Settings()
    where = paths.config_file
    assert loaded.warnings == (
        f"{where}:2: 'prot' is not a setting and is ignored. Did you mean port?",
        f"{where}:3: 'history-lines' is not a setting and is ignored. Did you mean history_lines?",
        f"{where}:4: '\\x1b[2J' is not a setting and is ignored.",
        f"{where}:6: 'lab' is not a setting and is ignored.",
        f"{where}:8: 'z' is not a setting and is ignored.",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nick = alice\n", "config.toml:1: this is not valid TOML"),
        (b"\n\nnick = 'a'x\n", "config.toml:3: this is not valid TOML"),
        (b"nick = '\xff'\n", "not UTF-8"),
    ],
)
def test_broken_file_is_named_and_never_rewritten(paths: Paths, content: bytes, said: str) -> None:
    paths.config_file.write_bytes(content)
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        load(paths, {}, {})
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        set_value(paths, "nick", "bob")
    assert paths.config_file.read_bytes() == content


def test_directory_in_place_of_the_file_is_a_config_error(paths: Paths) -> None:
    paths.config_file.mkdir()
    with pytest.raises(ConfigError, match="Cannot read"):
        load(paths, {}, {})


# ------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("a:1", "a", 1),
        (" 192.168.1.20:8080 ", "192.168.1.20", 8080),
        ("[::1]:8080", "::1", 8080),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("tcp://0.tcp.ngrok.io:12345", "0.tcp.ngrok.io", 12345),
        ("my_host-1.local:5000", "my_host-1.local", 5000),
        ("bücher.example:5000", "bücher.example", 5000),
    ],
)
def test_address_is_read(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize(("text", "host"), [("[::1]", "::1"), ("hub.example", "hub.example"), ("1.2.3.4", "1.2.3.4")])
def test_address_without_port_takes_the_default(text: str, host: str) -> None:
    assert parse_address(text, 5000) == (host, 5000)
    with pytest.raises(UsageError, match="the port is missing"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the host is missing"),
        (":8080", "the host is missing"),
        ("a:", "port must be"),
        ("a:0", "port must be"),
        ("a:65536", "port must be"),
        ("a:+80", "port must be"),
        ("a:8_0", "port must be"),
        ("a:\uff18\uff10", "port must be"),
        ("a:80x", "port must be"),
        ("::1", "brackets"),
        ("::1:8080", "brackets"),
        ("[::1", "brackets"),
        ("::1]:80", "looks like"),
        ("[::1]8080", "looks like"),
        ("[1.2.3.4]:80", "looks like"),
        ("[]:80", "looks like"),
        ("a]b]:80", "looks like"),
        ("8080", "not an IPv4 address"),
        ("1.2.3:80", "not an IPv4 address"),
        ("256.1.1.1:80", "not an IPv4 address"),
        ("a b:80", "not a host name"),
        ("-rf:80", "not a host name"),
        ("a/b:80", "not a host name"),
        ("a\x1b[2J:80", "not a host name"),
        ("x" * 300 + ":80", "not a host name"),
        ("http://a:80", "leave off 'http://'"),
    ],
)
def test_what_is_not_an_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_address(text, 5000 if text == "8080" else None)
    assert caught.value.sentence().isprintable()
    assert "[::1]:8080" in caught.value.hint
    assert len(str(caught.value)) < 250


@given(st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.integers(1, 65535))
def test_address_is_read_back_as_written(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == (host, port)


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        host, port = parse_address(text, 1)
    except UsageError as error:
        shown = error.sentence()
    else:
        shown = str(port)
        assert host
        assert 1 <= port <= 65535
    assert shown.isprintable()


# ------------------------------------------------------------------------------------------------ config set


@pytest.mark.parametrize("name", TYPED)
def test_set_value_is_in_force_at_the_next_start(paths: Paths, name: str) -> None:
    typed, expected = TYPED[name]
    set_value(paths, name.replace("_", "-"), typed)
    assert getattr(load(paths, {}, {}).settings, name) == expected


FILE = """\
# Settings of alice, see docs/profiles.md

nick = "al # ice"   # who I am
 "port"=8080# fixed
prot = 1
peers = [
  "10.0.0.5:8080",  # the lab
]  # at work
banner = '''
port = 7
'''

# of another tool
[network] # here
port = 1
"""


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [
        ("nick", "bob", 'nick = "al # ice"   # who I am', 'nick = "bob"   # who I am'),
        ("nick", 'b"\\ö', 'nick = "al # ice"   # who I am', 'nick = "b\\"\\\\ö"   # who I am'),
        ("port", "9", ' "port"=8080# fixed', ' "port" = 9# fixed'),
        (
            "peers",
            "[::1]:5,b:6",
            'peers = [\n  "10.0.0.5:8080",  # the lab\n]  # at work',
            'peers = ["[::1]:5", "b:6"]  # at work',
        ),
        ("linger", "3", "port = 7\n'''\n", "port = 7\n'''\nlinger = 3.0\n"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_set_value_changes_its_line_and_nothing_else(
    paths: Paths, name: str, value: str, before: str, after: str, newline: str
) -> None:
    assert FILE.count(before) == 1
    write(paths, FILE.replace("\n", newline))
    set_value(paths, name, value)
    assert paths.config_file.read_bytes().decode() == FILE.replace(before, after).replace("\n", newline)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "port = 9\n"),
        ("# only this", "# only this\nport = 9\n"),
        ("# only this\n", "# only this\nport = 9\n"),
        ("nick = 'a'", "nick = 'a'\nport = 9\n"),
        ("# t\n[lab]\na = 1\n", "port = 9\n# t\n[lab]\na = 1\n"),
        ("\ufeffnick = 'a'\n", "nick = 'a'\nport = 9\n"),
    ],
)
def test_new_setting_finds_its_place(paths: Paths, text: str, expected: str) -> None:
    write(paths, text)
    set_value(paths, "port", "9")
    assert paths.config_file.read_bytes().decode().replace(os.linesep, "\n") == expected


@given(st.lists(st.sampled_from(sorted(TYPED)), max_size=6), st.data())
def test_any_sequence_of_sets_leaves_the_rest_of_the_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    start = data.draw(st.sampled_from([FILE, FILE.replace("[network]", "[[network]]"), FILE[: FILE.index("prot")], ""]))
    paths = Paths.find({"SANDPIPER_HOME": str(tmp_path_factory.mktemp("set"))})
    write(paths, start)
    for name in names:
        set_value(paths, name, TYPED[name][0])
    text = paths.config_file.read_text("utf-8")
    kept = {key: value for key, value in tomllib.loads(start).items() if key not in names}
    assert {key: value for key, value in tomllib.loads(text).items() if key not in names} == kept
    settings = load(paths, {}, {}).settings
    assert [getattr(settings, name) for name in names] == [TYPED[name][1] for name in names]
    comments = [line for line in start.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == comments


@pytest.mark.parametrize("text", ["[port]\na = 1\n", "[[port]]\n", "port.a = 1\nport.b = 2\n"])
def test_set_value_refuses_what_it_cannot_change_safely(paths: Paths, text: str) -> None:
    write(paths, text)
    with pytest.raises(ConfigError, match=r"Cannot change port .* safely") as caught:
        set_value(paths, "port", "9")
    assert "port = 9" in caught.value.hint
    assert paths.config_file.read_text("utf-8") == text


def test_set_value_refuses_a_bad_value_and_an_unknown_name(paths: Paths) -> None:
    with pytest.raises(ConfigError, match="config set: port cannot be 'x'"):
        set_value(paths, "port", "x")
    with pytest.raises(UsageError, match=r"'prot' is not a setting. Did you mean port\?"):
        set_value(paths, "prot", "1")
    assert not paths.config_file.exists()


@posix
def test_set_value_keeps_the_link_and_the_mode_of_the_file(paths: Paths, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("port = 1\n")
    real.chmod(0o640)
    paths.config_file.symlink_to(real)
    set_value(paths, "port", "2")
    assert paths.config_file.is_symlink()
    assert real.read_text() == "port = 2\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_set_value_makes_the_directory_and_says_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_value(Paths.find({"SANDPIPER_HOME": str(tmp_path / "a" / "b")}), "port", "1")
    assert (tmp_path / "a" / "b" / "config.toml").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot (read|write) "):
        set_value(Paths.find({"SANDPIPER_HOME": str(tmp_path / "file" / "b")}), "port", "1")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"Cannot write .*config\.toml: No space left"):
        set_value(Paths.find({"SANDPIPER_HOME": str(tmp_path)}), "port", "1")


# ------------------------------------------------------------------------------------------------ files and places


@posix
def test_written_file_is_open_to_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        config.write_whole(tmp_path / "secret", b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    config.write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        config.write_whole(path, b"new")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"old")]
    with pytest.raises(FileNotFoundError):
        config.write_whole(tmp_path / "none" / "file", b"new")


@posix
def test_write_follows_nothing_that_was_planted_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: b"\1" * count)
    target, planted = tmp_path / "elsewhere", tmp_path / f"secret.{'01' * 6}.tmp"
    target.write_bytes(b"mine")
    planted.symlink_to(target)
    with pytest.raises(FileExistsError):
        config.write_whole(tmp_path / "secret", b"1")
    assert target.read_bytes() == b"mine"
    assert planted.is_symlink()
    assert not (tmp_path / "secret").exists()


def test_home_holds_everything_and_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = Paths.find({"SANDPIPER_HOME": "some/where"})
    root = tmp_path / "some" / "where"
    assert paths.portable
    for place in (paths.config_dir, paths.data_dir, paths.log_dir, paths.config_file, paths.profiles):
        assert place.is_relative_to(root)
    load(paths, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_home_of_nobody_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="SANDPIPER_HOME"):
        Paths.find({"SANDPIPER_HOME": "~no-such-user-here/x"})


@pytest.mark.skipif(sys.platform != "linux", reason="XDG directories are those of Linux")
def test_directories_of_the_platform_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    paths = Paths.find({})
    assert not paths.portable
    assert (paths.config_dir, paths.data_dir) == (tmp_path / "CONFIG/sandpiper", tmp_path / "DATA/sandpiper")
    assert paths.log_dir.is_relative_to(tmp_path / "STATE/sandpiper")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_module_loads_only_what_every_start_needs() -> None:
    code = (
        "import sys, msgspec, typing_extensions; before = set(sys.modules); import sandpiper.config;"
        "print(*sorted(name for name in set(sys.modules) - before if '.' not in name))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"sandpiper", "dataclasses", "copy", "weakref", "_weakrefset"}


def test_docs_show_the_table_as_it_is() -> None:
    assert config.settings_markdown() in (ROOT / "docs" / "profiles.md").read_text("utf-8")


def test_listing_shows_values_as_toml_with_their_sources(paths: Paths) -> None:
    loaded = load(paths, {"peers": "[::1]:80"}, {"SANDPIPER_NICK": 'a"b'})
    rows = {name: (value, source) for name, value, source in loaded.rows()}
    assert rows["nick"] == ('"a\\"b"', "SANDPIPER_NICK")
    assert rows["peers"] == ('["[::1]:80"]', "--peer")
    assert rows["keyring"] == ("true", "default")
    text = "\n".join(f"{name} = {value}" for name, (value, _) in rows.items())
    write(paths, text)
    assert msgspec.structs.asdict(load(paths, {}, {}).settings) == msgspec.structs.asdict(loaded.settings)
