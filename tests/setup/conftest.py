"""Copies of the checkout, fresh and already set up."""

import shutil
from pathlib import Path

import pytest

from tests.setup.checkout import Checkout, make_checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path / "check out", tmp_path / "wheels")


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """One that has been started once."""
    assert checkout.run("demo").code == 0
    return checkout


@pytest.fixture
def nested(checkout: Checkout, tmp_path: Path) -> Checkout:
    """A fresh one on a folder of its own that a small disk can be mounted on."""
    disk = tmp_path / "disk"
    shutil.copytree(checkout.folder, disk)
    return Checkout(disk, checkout.wheels)
