"""Makes `.venv` from the hashed lock files on first start; standard library only."""

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "dashgate-setup.json"
RUNTIME_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
OLD_SDK_LOCK = ROOT / "tests" / "clients" / "requirements-dashscope-1.25.2.lock"
OLD_SDK_FOLDER = VENV / "clients" / "dashscope-1.25.2"
STEP_TIMEOUT_SECONDS = 1800
ROOM_BYTES = 400 * 1024 * 1024

# The wheels for Linux and macOS on x86-64 and ARM; elsewhere pip does the work.
UV_REQUIREMENT = """uv==0.13.8
--hash=sha256:e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984
--hash=sha256:29451c60f5e8b07403e0a175d5229efc36b0289b34143ff4aaa499a5dd52553a
--hash=sha256:5337c30bb893b4f9ce0ceb921ba2da0d13f649da644f40ad3bef84083bef0203
--hash=sha256:0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d
--hash=sha256:b7124ca1956ec2e476a1003ea5715a15f0266afaec37f4dc9c6972ba8183e6d1
--hash=sha256:62b6943c7fd64fac6854f780bea6e0359e5a5bc3241f83ee357bb38276afac49
"""

# pip's options for where packages come from, and uv's names for them; nothing else is passed on.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}

DISK_FULL = f"the disk of {ROOT} is full: free about 1 GB and run the same command again"
KNOWN_FAILURES = {
    "No space left on device|Disk quota exceeded": DISK_FULL,
    "Read-only file system|Permission denied": f"cannot write to {VENV}: run it as the owner of "
    "the checkout, or copy the checkout to a folder of your own",
    "(?i)do not match the hashes|hash mismatch": "a package differs from its hash in the lock "
    "file and was refused: check the package index or mirror that pip is configured for",
    "ConnectionError|ConnectTimeout|ReadTimeout|Max retries|ProxyError|SSLError|Connection refused"
    "|error sending request|dns error": "no package index can be reached: check the network, the "
    "proxy and pip's index settings, then run the same command again",
    "ensurepip is not available|No module named ensurepip": "this Python cannot make virtual "
    "environments: install its venv module (on Debian `apt install python3-venv`) or virtualenv",
}

Outcome = subprocess.CompletedProcess[str]


class SetupFailed(Exception):
    """The environment cannot be made; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Stamp:
    """What `.venv` holds; without a runtime lock it is unfinished."""

    venv: str = str(VENV)
    python: str = str(sys.implementation.cache_tag)
    runtime: str | None = None
    dev: str | None = None


def enter(arguments: list[str]) -> None:
    """Return once inside a ready environment, replacing this process if need be."""
    if os.environ.get("DASHGATE_NO_SETUP", "0") not in {"", "0"}:
        return
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        changed = _prepare(_wanted_stamp(dev=command == "test" and "--help" not in arguments))
    except (SetupFailed, OSError, subprocess.TimeoutExpired, KeyboardInterrupt) as failure:
        sys.exit(f"setup: {_known_failure(str(failure)) or str(failure) or 'interrupted'}")
    if changed or Path(sys.prefix).resolve() != VENV.resolve():
        arguments = [str(PYTHON), str(ROOT / "app"), *arguments]
        os.execve(PYTHON, arguments, _clean_environment())  # noqa: S606


def _prepare(wanted: Stamp) -> bool:
    """Bring `.venv` to what is wanted; False when nothing had to be done."""
    if _is_ready(wanted):
        return False
    with _install_lock():
        if not _is_ready(wanted):
            started = time.monotonic()
            _fill_venv(wanted)
            _say(f"done in {time.monotonic() - started:.0f} s")
    return True


def _wanted_stamp(*, dev: bool) -> Stamp:
    return Stamp(
        runtime=_digest(RUNTIME_LOCK), dev=_digest(DEV_LOCK, OLD_SDK_LOCK) if dev else None
    )


def _digest(*locks: Path) -> str:
    return hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()


def _is_ready(wanted: Stamp) -> bool:
    stamp = _find_stamp()
    enough = wanted if wanted.dev or stamp is None else replace(wanted, dev=stamp.dev)
    return stamp == enough and _is_runnable()


def _is_runnable() -> bool:
    return os.access(PYTHON, os.X_OK) and (VENV / "pyvenv.cfg").is_file()


def _find_stamp() -> Stamp | None:
    """What an earlier run left; None for nothing, or nothing this version understands."""
    try:
        return Stamp(**json.loads(STAMP.read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def _write_stamp(stamp: Stamp) -> None:
    draft = STAMP.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(stamp)) + "\n")
    draft.replace(STAMP)


@contextlib.contextmanager
def _install_lock() -> Iterator[None]:
    """One installer a checkout; the kernel drops the lock should this process be killed."""
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is preparing .venv, waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _fill_venv(wanted: Stamp) -> None:
    if shutil.disk_usage(ROOT).free < ROOM_BYTES:
        raise SetupFailed(DISK_FULL)
    previous = _keep_or_make_venv()
    _write_stamp(Stamp())
    try:
        _install_wanted(wanted)
    except SetupFailed as failure:
        # Both installers fetch and check everything before they change the first file.
        if previous and str(failure) != DISK_FULL:
            _write_stamp(previous)
        raise
    _write_stamp(wanted)


def _keep_or_make_venv() -> Stamp | None:
    """Leave a `.venv` that can be installed into; return its stamp if it was a finished one."""
    stamp = _find_stamp()
    is_whole = stamp and stamp.runtime and replace(stamp, runtime=None, dev=None) == Stamp()
    if _is_runnable() and (is_whole if stamp else _is_made_by_hand()):
        return stamp
    if VENV.exists() or VENV.is_symlink():
        _say("the .venv here is unfinished, moved or of another Python: making it anew")
        VENV.unlink() if VENV.is_symlink() else shutil.rmtree(VENV)
    _make_venv()
    return None


def _is_made_by_hand() -> bool:
    """Whether `.venv` is someone's own and has pip: such a one is filled, not replaced."""
    question = f"import pip, sys; sys.exit(sys.implementation.cache_tag != {Stamp.python!r})"
    return _run([str(PYTHON), "-I", "-c", question]).returncode == 0


def _make_venv() -> None:
    VENV.mkdir()
    _write_stamp(Stamp())
    _say(f"making .venv with Python {sys.version.split()[0]}")
    # sys.executable itself may stand in the .venv that was just removed.
    base = getattr(sys, "_base_executable", sys.executable)
    outcome = _run([base, "-I", "-m", "venv", str(VENV)])
    if outcome.returncode and (virtualenv := shutil.which("virtualenv")):
        outcome = _run([virtualenv, "--python", base, str(VENV)])
    _require(outcome, "making .venv")
    _run([str(PYTHON), "-I", "-m", "pip", "uninstall", "--yes", "setuptools"])  # old, unused


def _install_wanted(wanted: Stamp) -> None:
    sources = _package_sources()
    uv = _find_or_fetch_uv(sources)
    lock = DEV_LOCK if wanted.dev else RUNTIME_LOCK
    _say(f"installing {lock.name} with {'uv' if uv else 'pip, which takes a minute or two'}")
    _install([str(lock)], uv, sources)
    if wanted.dev:
        target = ["--no-deps", "--upgrade", "--target", str(OLD_SDK_FOLDER)]
        _install([str(OLD_SDK_LOCK), *target], uv, sources)


def _install(lock_and_options: list[str], uv: Path | None, sources: Mapping[str, str]) -> None:
    arguments = ["install", "--require-hashes", "-r", *lock_and_options]
    if uv:
        command = [str(uv), "pip", *arguments, "--python", str(PYTHON)]
        if _run(command, _uv_environment(sources)).returncode == 0:
            return
        _say("uv could not do it, trying pip, which takes a minute or two")
    _require(_run_pip(arguments, sources), "pip install")


def _find_or_fetch_uv(sources: Mapping[str, str]) -> Path | None:
    """The uv inside `.venv`; None where no wheel of it is to be had; raises SetupFailed."""
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        (lock := VENV / "requirements-uv.lock").write_text(" ".join(UV_REQUIREMENT.split()))
        outcome = _run_pip(["install", "--require-hashes", "-r", str(lock)], sources)
        if outcome.returncode and (reason := _known_failure(outcome.stdout)):
            raise SetupFailed(reason)
    return uv if uv.exists() else None


def _package_sources() -> dict[str, str]:
    """Where pip is told to look for packages; may hold passwords and is never shown."""
    listing = _run([str(PYTHON), "-m", "pip", "config", "list"]).stdout
    settings = dict(line.split("=", 1) for line in listing.splitlines() if "='" in line)
    return {
        option: " ".join(str(ast.literal_eval(settings[key])).split())
        for option in UV_NAMES
        for section in ("global", "install", ":env:")
        if (key := f"{section}.{option}") in settings
    }


def _run_pip(arguments: list[str], sources: Mapping[str, str]) -> Outcome:
    """pip with its package sources and no other configuration, such as a target of its own."""
    environment = {k: v for k, v in _clean_environment().items() if not k.startswith("PIP_")}
    given = {f"PIP_{k.replace('-', '_').upper()}": v for k, v in sources.items()}
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "2"}
    return _run([str(PYTHON), "-m", "pip", *arguments], environment | given | fixed)


def _uv_environment(sources: Mapping[str, str]) -> dict[str, str]:
    given = {UV_NAMES[option]: value for option, value in sources.items()}
    if "UV_FIND_LINKS" in given:
        given["UV_FIND_LINKS"] = given["UV_FIND_LINKS"].replace(" ", ",")
    # pip holds all its indexes for equal, and the hashes decide what is right.
    given["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if not os.access(os.environ.get("HOME") or "/nonexistent", os.W_OK):
        given["UV_NO_CACHE"] = "1"
    return given | _clean_environment()


def _clean_environment() -> dict[str, str]:
    """The environment without what would point Python at another installation."""
    foreign = {"PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"}
    return {key: value for key, value in os.environ.items() if key not in foreign}


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> Outcome:
    """Run one step, its output kept for the explanation of a failure."""
    return subprocess.run(  # noqa: S603  # commands of this file only
        command,
        env=environment or _clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,  # keeps the install lock with a step that outlives this process
        text=True,
        errors="replace",
        timeout=STEP_TIMEOUT_SECONDS,
        check=False,
    )


def _require(outcome: Outcome, step: str) -> None:
    if outcome.returncode:
        last_line = re.sub(r"\w+://\S+", "<url>", outcome.stdout.strip().split("\n")[-1])
        raise SetupFailed(_known_failure(outcome.stdout) or f"{step} failed: {last_line}")


def _known_failure(text: str) -> str | None:
    return next((said for found, said in KNOWN_FAILURES.items() if re.search(found, text)), None)


def _say(words: str) -> None:
    sys.stderr.write(f"setup: {words}\n")
