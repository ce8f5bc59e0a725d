"""What a wheel installs: one package and one command, which runs from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app import __version__
from tests.house.sources import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_it_claims_no_name_but_its_own(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.partition("/")[0] for name in names} == {
        "dashgate",
        f"dashgate-{__version__}.dist-info",
    }
    assert "dashgate/gateway/app/main.py" in names
    assert any(name.startswith("dashgate/gateway/migrations/versions/") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_its_command_runs_and_its_hints_name_it(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DASHGATE_", "DASHSCOPE_", "DATABASE_URL"))
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import dashgate; dashgate.main()", *arguments],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert run("--version") == f"dashgate {__version__}\n"
    assert "Usage: dashgate team create" in run("team", "create", "--help")
    assert "DATABASE_URL is not set" in run("team", "list")
    edit = ("edit", "http://a.example/a.png", "--prompt", "x", "--key", "k" * 40)
    assert "`dashgate up`" in run(*edit)
