"""What uv and pip are told, and how one stands in for the other."""

import subprocess
from pathlib import Path

import pytest

from tests.setup.checkout import MACHINE_PYTHON, Checkout

UV = """#!/bin/sh
# Records what it was told, then lets pip do it.
env | grep ^UV_ > {told}
{verdict}
shift
while [ $# -gt 2 ]; do set -- "$@" "$1"; shift; [ "$1" = --python ] && break; done
shift 2
exec {python} -m pip "$@"
"""


def place_uv(checkout: Checkout, *, verdict: str = "") -> Path:
    """A `.venv` made by hand with a stand-in for uv; returns where it notes its environment."""
    subprocess.run([MACHINE_PYTHON, "-m", "venv", checkout.venv], check=True)
    told = checkout.wheels / "told"
    uv = checkout.venv / "bin" / "uv"
    python = f"'{checkout.venv}/bin/python'"
    uv.write_text(UV.format(told=f"'{told}'", verdict=verdict, python=python))
    uv.chmod(0o755)
    return told


def test_uv_does_the_work_with_the_indexes_that_pip_is_configured_for(
    checkout: Checkout, tmp_path: Path
) -> None:
    told = place_uv(checkout)
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = http://one.test/simple\n"
        "extra-index-url =\n  http://two.test/simple\n  http://three.test/simple\n"
    )

    outcome = checkout.run("demo", PIP_CONFIG_FILE=str(configuration))

    assert outcome.answer["runtimedep"] == "1.0"
    assert "with uv" in outcome.err
    assert "one.test" not in outcome.err
    settings = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert settings["UV_DEFAULT_INDEX"] == "http://one.test/simple"
    assert settings["UV_INDEX"] == "http://two.test/simple http://three.test/simple"
    assert settings["UV_FIND_LINKS"] == str(checkout.wheels)
    assert settings["UV_NO_CACHE"] == "1"


def test_pip_takes_over_when_uv_fails(checkout: Checkout) -> None:
    place_uv(checkout, verdict="exit 2")

    outcome = checkout.run("demo")

    assert outcome.answer["runtimedep"] == "1.0"
    assert "trying pip" in outcome.err


@pytest.mark.parametrize(
    "settings",
    [
        {"PIP_TARGET": "/nonexistent/elsewhere"},
        {"PIP_USER": "1"},
        {"PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_BINARY": ":all:", "PYTHONHOME": ""},
    ],
    ids=["target", "user", "no binaries"],
)
def test_other_settings_of_pip_do_no_harm(checkout: Checkout, settings: dict[str, str]) -> None:
    assert checkout.run("demo", **settings).answer["runtimedep"] == "1.0"


def test_a_target_in_the_configuration_of_pip_does_no_harm(
    checkout: Checkout, tmp_path: Path
) -> None:
    configuration = tmp_path / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"[install]\ntarget = {tmp_path}/elsewhere\n")

    outcome = checkout.run("demo", HOME=str(tmp_path), PIP_CONFIG_FILE="")

    assert outcome.answer["runtimedep"] == "1.0"
    assert not (tmp_path / "elsewhere").exists()
