"""The pure rooms take time, randomness and keys as arguments.

The import contract refuses whole modules; this refuses what such a contract cannot see: single functions, and modules
that may be named in annotations only.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override

import sandpiper

ROOT = Path(sandpiper.__file__).parent
PURE = ("wire", "crypto", "core")

MODULES = {"random", "secrets", "time", "uuid"}
BUILTINS = {"open", "input"}
NAMES = {
    *BUILTINS,
    "io.open",
    "os.open",
    "os.getrandom",
    "os.urandom",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "nacl.utils.random",
}
# Keys that the libraries would draw from the system by themselves.
KEY_LIBRARIES = {"cryptography", "nacl"}
KEY_MAKERS = {"generate", "generate_key", "generate_private_key"}


class Impurities(ast.NodeVisitor):
    """Collects (line, name) of each use of time, randomness or files that would run."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self.imported: dict[str, str] = {}

    @override
    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    @override
    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            self.imported[alias.asname or top] = alias.name if alias.asname else top
            self.check(node, alias.name)

    @override
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            self.imported[alias.asname or alias.name] = name
            self.check(node, name)

    @override
    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.imported or node.id in BUILTINS:
            self.check(node, self.imported.get(node.id, node.id))

    @override
    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts: list[str] = []
        value: ast.expr = node
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name) and value.id in self.imported:
            self.check(node, ".".join([self.imported[value.id], *reversed(parts)]))
        else:
            self.generic_visit(node)

    def check(self, node: ast.stmt | ast.expr, name: str) -> None:
        top, _, rest = name.partition(".")
        makes_key = top in KEY_LIBRARIES and rest.rpartition(".")[2] in KEY_MAKERS
        if top in MODULES or name in NAMES or makes_key:
            self.found.append((node.lineno, name))


def impurities(source: str) -> list[tuple[int, str]]:
    visitor = Impurities()
    visitor.visit(ast.parse(source))
    return visitor.found


def pure_modules() -> Iterator[Path]:
    for room in PURE:
        yield from sorted((ROOT / room).rglob("*.py"))


def test_pure_rooms_take_time_and_randomness_as_arguments():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in pure_modules()
        for line, name in impurities(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nkey = os.urandom(32)",
        "import os as system\nkey = system.urandom(32)",
        "from os import urandom",
        "import secrets",
        "from secrets import token_bytes",
        "import time",
        "from time import monotonic as clock",
        "import random",
        "import uuid",
        "import datetime\nnow = datetime.datetime.now()",
        "import datetime as dt\nnow = dt.date.today()",
        "from datetime import UTC, datetime\nnow = datetime.now(UTC)",
        "from datetime import datetime\nnow = datetime.utcnow().isoformat()",
        "from datetime import date\nclock = date.today",
        "lines = open('notes').readlines()",
        "import io\nfile = io.open('notes')",
        "from nacl.signing import SigningKey\nkey = SigningKey.generate()",
        "from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey as Key\nkey = Key.generate()",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import random",
        "def draw():\n    import random\n    return random.random()",
    ],
)
def test_impure_source_is_refused(source: str):
    assert impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from random import Random\n"
        "def pick(rng: 'Random') -> float:\n    return rng.random()",
        "import typing\nif typing.TYPE_CHECKING:\n    import random",
        "from datetime import UTC, datetime\nsent = datetime.fromtimestamp(0, UTC)",
        "import os\nname = os.path.join('a', 'b')",
        "class Sent:\n    time: int\n    random: bytes\n",
        "def show(timer):\n    return timer.time, timer.now(), timer.open()",
    ],
)
def test_pure_source_passes(source: str):
    assert impurities(source) == []
