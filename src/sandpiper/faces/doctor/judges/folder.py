"""Judges the data directory: can it be written, is it private, is every history whole?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.fixes import own, private, quoted

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, Profile

DATA = "data"
HISTORY = "history"

WARN_BYTES = 100_000_000  # some hundred thousand messages
FAIL_BYTES = 5_000_000  # SQLite's write-ahead log alone may grow to about this


def judge_data(facts: Facts) -> list[Finding]:
    """The directory that keeps everything."""
    return [*_writable(facts), *_rights(facts), *_space(facts)]


def _writable(facts: Facts) -> list[Finding]:
    folder, system = facts.folder, facts.system
    where = quoted(system, folder.path)
    if folder.full:
        return [
            Finding(
                check=DATA,
                status="fail",
                code="disk_full",
                seen=f"The disk of {folder.path} is full: nothing can be written.",
                why="Messages are kept before they are sent; with a full disk none can be sent.",
                fix=("Make room there, or keep everything elsewhere: SANDPIPER_HOME=/another/place",),
            )
        ]
    if folder.refused is not None:
        if folder.exists:
            fix = [own(system, folder.path)] if folder.foreign else []
            fix += [private(system, folder.path, 0o700)]
        else:
            fix = [f"mkdir {where}" if system == "windows" else f"mkdir -m 700 -p {where}"]
        return [
            Finding(
                check=DATA,
                status="fail",
                code="not_writable",
                seen=f"{folder.path} cannot be {'written' if folder.exists else 'made'}: {folder.refused.text}.",
                why="Identity and history live there; sandpiper does not start without it.",
                fix=(*fix, "or keep everything elsewhere: SANDPIPER_HOME=/another/place"),
            )
        ]
    if not folder.exists:
        return [
            Finding(
                check=DATA,
                status="ok",
                code="fresh",
                seen=f"{folder.path} is not there yet. The first start makes it.",
            )
        ]
    return [Finding(check=DATA, status="ok", code="writable", seen=f"{folder.path} can be written.")]


def _rights(facts: Facts) -> list[Finding]:
    folder, system = facts.folder, facts.system
    # These may be looked into, as every profile in them is closed; who can write there can put another in its place.
    above = ((folder.path, folder.mode), (f"{folder.path}/profiles", folder.profiles_mode))
    wide = [(path, mode, 0o700) for path, mode in above if mode is not None and mode & 0o022]
    foreign = [folder.path] if folder.foreign and folder.refused is None else []
    for profile in folder.profiles:
        if profile.mode is not None and profile.mode & 0o077:
            wide.append((profile.path, profile.mode, 0o700))
        wide += [(path, mode, 0o600) for path, mode in profile.loose]
        foreign += [profile.path] if profile.foreign else []
    found = []
    if wide:
        keys = [path for path, _, _ in wide if path.replace("\\", "/").endswith("/identity")]
        found.append(
            Finding(
                check=DATA,
                status="fail" if keys else "warn",
                code="open_to_others",
                seen=f"{', '.join(keys) or wide[0][0]} is open to others on this machine.",
                details=tuple(f"{path}: mode {mode:04o}, should be {right:04o}" for path, mode, right in wide),
                why="Who has the identity can speak in your name, and who reads the history knows all that was said.",
                fix=tuple(private(system, path, right) for path, _, right in wide),
            )
        )
    if foreign:
        found.append(
            Finding(
                check=DATA,
                status="warn",
                code="foreign_owner",
                seen=f"{', '.join(foreign)} belongs to another user (was sandpiper once started with sudo?).",
                why="It may stop being readable or writable at any time.",
                fix=tuple(own(system, path) for path in foreign),
            )
        )
    return found


def _space(facts: Facts) -> list[Finding]:
    free = facts.folder.free
    if free is None or free >= WARN_BYTES or facts.folder.full:
        return []
    few = free < FAIL_BYTES
    return [
        Finding(
            check=DATA,
            status="fail" if few else "warn",
            code="little_space",
            seen=f"Only {free / 1_000_000:.1f} MB are free on the disk of {facts.folder.path}.",
            why="When the disk is full, messages can neither be kept nor sent.",
            fix=("Make room on that disk, or move: SANDPIPER_HOME=/another/place",),
        )
    ]


def judge_history(facts: Facts) -> list[Finding]:
    """Every profile's history file."""
    folder = facts.folder
    if folder.unread:
        return [
            Finding(
                check=HISTORY,
                status="fail",
                code="unreadable",
                seen=f"The profiles cannot be listed: {folder.unread}.",
                why="Sandpiper cannot read your identity and history either.",
                fix=(own(facts.system, folder.path), private(facts.system, folder.path, 0o700)),
            )
        ]
    found = [finding for profile in folder.profiles if (finding := _history(facts, profile)) is not None]
    whole = [profile for profile in folder.profiles if profile.history in ("ok", "none", "unfinished")]
    if whole:
        names = ", ".join(profile.name for profile in whole)
        details = tuple(_line(profile) for profile in whole)
        seen = f"The histories of {names} are whole." if len(whole) > 1 else f"The history of {names} is whole."
        found.append(Finding(check=HISTORY, status="ok", code="whole", seen=seen, details=details))
    if not folder.profiles:
        found.append(Finding(check=HISTORY, status="ok", code="none", seen="There is no profile yet."))
    return [*found, *_aside(facts)]


def _line(profile: Profile) -> str:
    words = {
        "none": "no history yet",
        "unfinished": f"{profile.bytes / 1_000_000:.1f} MB, too large to be looked through here",
    }.get(profile.history, f"{profile.bytes / 1_000_000:.1f} MB, version {profile.version}")
    if profile.running:
        words += f", in use by process {profile.pid}" if profile.pid else ", in use now"
    return f"{profile.name}: {words}"


def _history(facts: Facts, profile: Profile) -> Finding | None:
    match profile.history:
        case "none" | "ok" | "unfinished":
            return None
        case "damaged":
            return Finding(
                check=HISTORY,
                status="fail",
                code="damaged",
                seen=f"The history of {profile.name} is damaged ({profile.history_text}).",
                why="Some messages in it may be lost. Nothing is overwritten.",
                fix=(
                    f"Start it: sandpiper --profile {profile.name}   (the damaged file is kept aside, a new one begins,"
                    " and peers send back what they have)",
                ),
            )
        case "unreadable":
            return Finding(
                check=HISTORY,
                status="fail",
                code="unreadable",
                seen=f"The history of {profile.name} cannot be read: {profile.history_text}.",
                why="Sandpiper cannot start with this profile.",
                fix=(own(facts.system, profile.path), private(facts.system, profile.path, 0o700)),
            )
        case "foreign":
            return Finding(
                check=HISTORY,
                status="fail",
                code="foreign_file",
                seen=f"The history file of {profile.name} belongs to another program.",
                why="Sandpiper does not touch it, and cannot start with this profile.",
                fix=("Move the file away, or use another profile: sandpiper --profile NAME",),
            )
        case "newer":
            return Finding(
                check=HISTORY,
                status="fail",
                code="newer_file",
                seen=f"The history of {profile.name} has version {profile.version}: a later sandpiper wrote it.",
                why="This program cannot read it.",
                fix=("Update sandpiper, or use another profile: sandpiper --profile NAME",),
            )


def _aside(facts: Facts) -> list[Finding]:
    aside = [path for profile in facts.folder.profiles for path in profile.aside]
    if not aside:
        return []
    one = len(aside) == 1
    return [
        Finding(
            check=HISTORY,
            status="ok",
            code="kept_aside",
            seen=f"{len(aside)} damaged {'file was' if one else 'files were'} kept aside earlier.",
            details=tuple(aside),
            why="Messages may be rescued from them with the sqlite3 program; sandpiper needs them no more.",
            fix=("Remove them when you do not want to.",),
        )
    ]
