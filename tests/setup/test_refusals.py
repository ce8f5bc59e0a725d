"""What cannot be set up ends in one sentence that says what to do."""

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.setup.checkout import MACHINE_PYTHON, ROOT, Checkout

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        pytest.skip(f"cannot mount here: {outcome.stderr.strip()}")


def test_no_network_is_said_without_the_index_and_its_password(checkout: Checkout) -> None:
    index = "http://reader:s3cret@127.0.0.1:9/simple"

    outcome = checkout.run("demo", PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL=index)

    assert "no package index can be reached" in outcome.complaint
    assert "s3cret" not in outcome.err
    for path in checkout.venv.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


def test_a_package_with_another_hash_is_refused_and_what_was_there_still_runs(
    ready: Checkout,
) -> None:
    ready.lock("requirements-dev.lock", runtimedep="1.0", devdep="2.0")
    with (ready.wheels / "devdep-2.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"tampered")

    assert "differs from its hash in the lock file" in ready.run("test").complaint
    assert ready.run("demo").err == ""


def test_a_package_that_is_nowhere_is_named(checkout: Checkout) -> None:
    checkout.lock("requirements.lock", runtimedep="3.0")
    (checkout.wheels / "runtimedep-3.0-py3-none-any.whl").unlink()

    assert "runtimedep==3.0" in checkout.run("demo").complaint


@as_root
def test_a_full_disk_is_named(nested: Checkout, checkout: Checkout) -> None:
    mount(nested.folder, "size=8m")
    try:
        shutil.copytree(checkout.folder, nested.folder, dirs_exist_ok=True)

        assert f"the disk of {nested.folder} is full" in nested.run("demo").complaint
    finally:
        subprocess.run(["umount", nested.folder], check=True)


@as_root
def test_a_read_only_checkout_is_named(nested: Checkout, checkout: Checkout) -> None:
    mount(nested.folder, "size=500m")
    try:
        shutil.copytree(checkout.folder, nested.folder, dirs_exist_ok=True)
        mount(nested.folder, "remount,ro")

        assert f"cannot write to {nested.venv}" in nested.run("demo").complaint
    finally:
        subprocess.run(["umount", nested.folder], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not hold root back")
def test_a_checkout_of_someone_else_is_named(checkout: Checkout) -> None:
    checkout.folder.chmod(0o555)

    assert f"cannot write to {checkout.venv}" in checkout.run("demo").complaint


def test_a_python_without_venv_is_told_which_package_brings_it(
    checkout: Checkout, tmp_path: Path
) -> None:
    python = tmp_path / "python3"  # named by its own path, as Debian's without python3-venv
    python.write_text(
        "#!/bin/bash\n"
        '[[ "$*" == *"-m venv"* ]] && { echo "ensurepip is not available"; exit 1; }\n'
        f'exec -a {python} {MACHINE_PYTHON} "$@"\n'
    )
    python.chmod(0o755)

    assert "python3-venv" in checkout.run("demo", python=str(python), PATH="/bin").complaint


def test_no_setup_installs_nothing_and_names_what_is_missing(checkout: Checkout) -> None:
    outcome = checkout.run("serve", DASHGATE_NO_SETUP="1")

    assert "has no module 'runtimedep'" in outcome.complaint
    assert not checkout.venv.exists()


def test_no_setup_runs_in_an_interpreter_that_has_everything(ready: Checkout) -> None:
    python = str(ready.venv / "bin" / "python")
    ready.lock("requirements.lock", runtimedep="2.0")

    outcome = ready.run("serve", python=python, DASHGATE_NO_SETUP="1")

    assert outcome.answer["runtimedep"] == "1.0"
    assert outcome.err == ""


def test_an_old_python_is_told_the_version_it_needs(checkout: Checkout) -> None:
    main = checkout.folder / "app" / "__main__.py"
    pretend = f"import runpy, sys; sys.version_info = (3, 8); runpy.run_path({str(main)!r})"

    outcome = subprocess.run(
        [MACHINE_PYTHON, "-c", pretend], capture_output=True, text=True, check=False
    )

    assert outcome.returncode == 1
    assert outcome.stderr.count("\n") == 1
    assert "needs Python 3.11 or later and this is 3.8" in outcome.stderr
    ast.parse((ROOT / "app" / "__main__.py").read_text(), feature_version=(3, 4))
