"""A small copy of the checkout: the real set-up code, a command line and packages made here."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MACHINE_PYTHON: str = getattr(sys, "_base_executable", sys.executable)
DEADLINE_SECONDS = 100

COMMAND_LINE = """
import json, os, sys
import runtimedep

def main():
    print(json.dumps({
        "arguments": sys.argv[1:],
        "prefix": sys.prefix,
        "runtimedep": runtimedep.VERSION,
        "pythonpath": os.environ.get("PYTHONPATH"),
    }))
"""


@dataclass(frozen=True)
class Checkout:
    """One copy, and the folder of wheels that stands in for a package index."""

    folder: Path
    wheels: Path

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    def lock(self, name: str, **versions: str) -> None:
        """Write a hashed lock file of packages, each with a wheel made for it."""
        lines = []
        for package, version in versions.items():
            wheel = build_wheel(self.wheels, package, version)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{package}=={version} --hash=sha256:{digest}\n")
        (self.folder / name).write_text("".join(lines))

    def environment(self, **changes: str) -> dict[str, str]:
        """A fresh machine's, where pip knows the folder of wheels and nothing else."""
        inherited = {k: v for k, v in os.environ.items() if k in {"PATH", "TMPDIR", "LANG"}}
        return inherited | {
            "HOME": "/proc/nowhere",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            **changes,
        }

    def spawn(
        self, *arguments: str, python: str = MACHINE_PYTHON, **changes: str
    ) -> "subprocess.Popen[str]":
        """Start `python path/to/app ...` in another folder than the checkout."""
        return subprocess.Popen(
            [python, self.folder / "app", *arguments],
            cwd="/",
            env=self.environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, python: str = MACHINE_PYTHON, **changes: str) -> "Outcome":
        with self.spawn(*arguments, python=python, **changes) as process:
            try:
                out, err = process.communicate(timeout=DEADLINE_SECONDS)
            finally:
                process.kill()
        return Outcome(process.returncode, out, err)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """What the command line of the copy printed."""
        assert self.code == 0, self.err
        return dict(json.loads(self.out))

    @property
    def complaint(self) -> str:
        """The one sentence on standard error that a failure ends with."""
        assert self.code == 1, (self.code, self.err)
        assert "Traceback" not in self.err
        return self.err.splitlines()[-1]


def make_checkout(folder: Path, wheels: Path) -> Checkout:
    for name in ("__init__.py", "__main__.py", "_setup.py"):
        (folder / "app").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "app" / name, folder / "app" / name)
    (folder / "app" / "cli.py").write_text(COMMAND_LINE)
    (folder / "tests" / "clients").mkdir(parents=True)
    wheels.mkdir(exist_ok=True)
    checkout = Checkout(folder, wheels)
    checkout.lock("requirements.lock", runtimedep="1.0")
    checkout.lock("requirements-dev.lock", runtimedep="1.0", devdep="1.0")
    checkout.lock("tests/clients/requirements-dashscope-1.25.2.lock", dashscope="1.25.2")
    return checkout


def build_wheel(folder: Path, package: str, version: str) -> Path:
    """A wheel of one module that knows its version."""
    wheel = folder / f"{package}-{version}-py3-none-any.whl"
    metadata = f"{package}-{version}.dist-info"
    files = {
        f"{package}.py": f"VERSION = {version!r}\n",
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = "".join(f"{name},,\n" for name in [*files, f"{metadata}/RECORD"])
    if not wheel.exists():
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in (files | {f"{metadata}/RECORD": records}).items():
                archive.writestr(name, text)
    return wheel
