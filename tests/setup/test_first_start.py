"""What a first start makes, what a second one skips, and when `.venv` is made anew."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from tests.setup.checkout import DEADLINE_SECONDS, MACHINE_PYTHON, Checkout


def test_a_first_start_installs_and_a_second_one_is_silent(checkout: Checkout) -> None:
    first = checkout.run("demo", "--once", PYTHONPATH="/nowhere")

    assert first.answer == {
        "arguments": ["demo", "--once"],
        "prefix": str(checkout.venv),
        "runtimedep": "1.0",
        "pythonpath": None,
    }
    assert not list(checkout.venv.glob("lib/python*/site-packages/setuptools*"))
    said = first.err.splitlines()
    assert 1 <= len(said) <= 3
    assert all(line.startswith("setup: ") for line in said)

    second = checkout.run("demo", "--once")

    assert second.answer == first.answer
    assert second.err == ""


def test_it_starts_as_a_module_too(ready: Checkout) -> None:
    command = [MACHINE_PYTHON, "-m", "app", "up"]
    outcome = subprocess.run(
        command,
        cwd=ready.folder,
        env=ready.environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(outcome.stdout)["arguments"] == ["up"]


def test_the_test_command_adds_what_tests_need_and_serves_other_commands(
    ready: Checkout,
) -> None:
    added = ready.run("test", "-q")

    assert "setup: installing requirements-dev.lock" in added.err
    assert list(ready.venv.glob("lib/python*/site-packages/devdep.py"))
    assert (ready.venv / "clients/dashscope-1.25.2/dashscope.py").exists()
    assert not list(ready.venv.glob("lib/python*/site-packages/dashscope.py"))
    assert ready.run("demo").err == ""
    assert ready.run("test").err == ""


def test_help_of_the_test_command_installs_nothing(ready: Checkout) -> None:
    helped = ready.run("test", "--help")

    assert helped.err == ""
    assert not list(ready.venv.glob("lib/python*/site-packages/devdep.py"))


def test_a_changed_lock_is_followed_in_place(ready: Checkout) -> None:
    mark = ready.venv / "mark"
    mark.touch()
    ready.lock("requirements.lock", runtimedep="2.0")

    assert ready.run("demo").answer["runtimedep"] == "2.0"
    assert mark.exists()


def test_a_venv_made_by_hand_is_filled_and_kept(checkout: Checkout) -> None:
    subprocess.run([MACHINE_PYTHON, "-m", "venv", checkout.venv], check=True)
    mark = checkout.venv / "mark"
    mark.touch()

    assert checkout.run("demo").answer["prefix"] == str(checkout.venv)
    assert mark.exists()
    assert checkout.run("demo").err == ""


def test_a_moved_checkout_gets_a_new_venv(ready: Checkout, tmp_path: Path) -> None:
    moved = Checkout(tmp_path / "moved", ready.wheels)
    shutil.move(ready.folder, moved.folder)
    mark = moved.venv / "mark"
    mark.touch()

    assert moved.run("demo").answer["prefix"] == str(moved.venv)
    assert not mark.exists()


def test_a_venv_behind_a_link_is_used(ready: Checkout, tmp_path: Path) -> None:
    elsewhere = ready.venv.rename(tmp_path / "elsewhere")
    ready.venv.symlink_to(elsewhere)

    again = ready.run("demo")

    assert (again.code, again.err) == (0, "")
    assert ready.venv.is_symlink()


def test_a_link_to_the_venv_of_another_checkout_is_replaced_and_that_one_kept(
    ready: Checkout, tmp_path: Path
) -> None:
    elsewhere = ready.venv.rename(tmp_path / "elsewhere")
    stamp = elsewhere / "dashgate-setup.json"
    stamp.write_text(stamp.read_text().replace(str(ready.venv), str(elsewhere)))
    ready.venv.symlink_to(elsewhere)

    assert ready.run("demo").code == 0

    assert not ready.venv.is_symlink()
    assert stamp.is_file()


def test_a_venv_of_another_python_is_made_anew(ready: Checkout) -> None:
    mark = ready.venv / "mark"
    mark.touch()
    stamp = ready.venv / "dashgate-setup.json"
    stamp.write_text(stamp.read_text().replace("cpython-3", "cpython-9"))

    assert ready.run("demo").code == 0
    assert not mark.exists()


def test_a_venv_whose_python_is_gone_is_made_anew(ready: Checkout) -> None:
    (ready.venv / "bin" / "python").unlink()

    assert ready.run("demo").code == 0


def test_a_start_killed_in_the_middle_is_made_good(checkout: Checkout) -> None:
    with checkout.spawn("demo") as killed:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (checkout.venv / "pyvenv.cfg").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.kill()

    again = checkout.run("demo")

    assert again.answer["runtimedep"] == "1.0"
    assert "making it anew" in again.err


def test_of_two_starts_at_once_one_installs(checkout: Checkout) -> None:
    with checkout.spawn("demo") as one, checkout.spawn("up") as two:
        said = [process.communicate(timeout=DEADLINE_SECONDS)[1] for process in (one, two)]

    assert (one.returncode, two.returncode) == (0, 0)
    assert sum("making .venv" in err for err in said) == 1
    assert sum("done in" in err for err in said) == 1
