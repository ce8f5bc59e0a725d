"""The project's own files, read once and parsed once."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file; `name` is its path from the root."""

    name: str
    text: str
    tree: ast.Module

    @property
    def is_test(self) -> bool:
        return self.name.startswith("tests/")

    @property
    def lines_count(self) -> int:
        return self.text.count("\n")

    def texts(self) -> Iterator[str]:
        """Its strings; of one with fields, the fixed parts, and a name in each field's place."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "_" for part in node.values
                )
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


@cache
def list_files() -> tuple[str, ...]:
    """What is or will be tracked; nothing that is ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(name for name in sorted(listed.stdout.splitlines()) if (ROOT / name).is_file())


@cache
def list_modules() -> tuple[Module, ...]:
    names = [name for name in list_files() if name.endswith(".py")]
    return tuple(_read_module(name) for name in names)


def list_program() -> tuple[Module, ...]:
    return tuple(module for module in list_modules() if module.name.startswith("app/"))


def _read_module(name: str) -> Module:
    text = (ROOT / name).read_text()
    return Module(name, text, ast.parse(text))
