"""The process above the server: ends it when its last user is gone, and ends with it.

Started by path and without site-packages, as root or not, so it imports the standard library only.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from typing import NoReturn

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.005
FAST_SHUTDOWN_SECONDS = 30
READY_LINE = 7  # of postmaster.pid, counted from 0; the pid is line 0 and the port line 3
PORT_LINE = 3


def guard(users_lock: str, guard_lock: str, identity: tuple[int, int], server: list[str]) -> int:
    """Run `server` until it ends, or nobody holds `users_lock` any more; return its exit code.

    `guard_lock` is held all the while, which is how others know that the server is up, and holds
    the port as a line once it takes connections.
    """
    guard_file = os.open(guard_lock, os.O_RDWR)
    fcntl.flock(guard_file, fcntl.LOCK_EX)
    os.ftruncate(guard_file, 0)
    users_file = os.open(users_lock, os.O_RDWR)
    _leave_everything(*identity)
    data = server[server.index("-D") + 1]
    _disown_stale_pid(data)

    pid = _start(server)
    threading.Thread(target=_end_with_last_user, args=(users_file, pid), daemon=True).start()
    while not (port := _find_ready_port(data, pid)):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_SECONDS)
    os.write(guard_file, f"{port}\n".encode())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _leave_everything(uid: int, gid: int) -> None:
    """Leave the terminal, the folder and, when root, the rights of whoever started us."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def _disown_stale_pid(data: str) -> None:
    """Make Postgres see that the pid in its file is no server's, however alive that number is.

    A zombie, or whoever has the number now, would pass for a running server. Our own pid Postgres
    knows to be stale, and then it still looks for backends that outlived a killed server.
    """
    lines = _read_pid_file(data)
    if lines and not _is_server(lines[0], data):
        with open(os.path.join(data, "postmaster.pid"), "w", encoding="utf-8") as file:
            file.write("\n".join([str(os.getpid()), *lines[1:]]))


def _is_server(pid: str, data: str) -> bool:
    """Whether this process runs in the data folder, as only its server does; a zombie does not."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(data)
    except OSError:
        return False


def _read_pid_file(data: str) -> list[str]:
    try:
        with open(os.path.join(data, "postmaster.pid"), encoding="utf-8") as file:
            return file.read().split("\n")
    except FileNotFoundError:
        return []


def _find_ready_port(data: str, pid: int) -> str | None:
    lines = _read_pid_file(data)
    is_ready = lines[READY_LINE : READY_LINE + 1] == ["ready   "]
    return lines[PORT_LINE] if is_ready and lines[0] == str(pid) else None


def _start(server: list[str]) -> int:
    """Fork the server, which the kernel shuts down should this process be killed."""
    guard_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_server(server, guard_pid)
    return pid


def _become_server(server: list[str], guard_pid: int) -> NoReturn:
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() == guard_pid:
            os.execve(server[0], server, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"})  # noqa: S606
    finally:
        os._exit(1)


def _end_with_last_user(users_file: int, pid: int) -> None:
    """Wait for the lock that every user shares: by exit or by kill -9, the kernel gives it up."""
    fcntl.flock(users_file, fcntl.LOCK_EX)
    for stop in (signal.SIGINT, signal.SIGQUIT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, stop)
        time.sleep(FAST_SHUTDOWN_SECONDS)


if __name__ == "__main__":
    users, own, uid, gid, *command = sys.argv[1:]
    os._exit(guard(users, own, (int(uid), int(gid)), command) & 0xFF)
