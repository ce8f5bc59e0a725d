"""Copies of the checkout, fresh and already set up."""

import shutil
from pathlib import Path

import pytest

from tests.setup.checkout import Checkout, make_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path / "check out", tmp_path / "wheels")


@pytest.fixture(scope="session")
def first_started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Path]:
    """One that has been started once, and what it was then: a `.venv` holds its own path."""
    folder = tmp_path_factory.mktemp("ready")
    checkout = make_checkout(folder / "check out", folder / "wheels")
    assert checkout.run("demo").code == 0
    untouched = folder / "untouched"
    shutil.copytree(checkout.folder, untouched, symlinks=True)
    return checkout, untouched


@pytest.fixture
def ready(first_started: tuple[Checkout, Path]) -> Checkout:
    """One that has been started once."""
    checkout, untouched = first_started
    if checkout.folder.exists():
        shutil.rmtree(checkout.folder)
    shutil.copytree(untouched, checkout.folder, symlinks=True)
    return checkout


@pytest.fixture
def nested(checkout: Checkout, tmp_path: Path) -> Checkout:
    """A fresh one on a folder of its own that a small disk can be mounted on."""
    disk = tmp_path / "disk"
    shutil.copytree(checkout.folder, disk)
    return Checkout(disk, checkout.wheels)
