"""Runs pg_dump and pg_restore on a database; no list of processes shows its password."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import URL, make_url

from app.embedded import Program, make_environment
from app.kit.errors import Unavailable

TOLD_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Said:
    """What a program printed, and whether it was content."""

    is_fine: bool
    out: str
    err: str

    def first_error(self) -> str:
        lines = self.err.strip().splitlines() or ["it said nothing"]
        errors = [line for line in lines if "error:" in line]
        return (errors or lines)[0].partition("error: ")[2][:TOLD_CHARACTERS] or lines[0]


async def run_program(program: Program, *arguments: object, url: str | None = None) -> Said:
    """Run it to its end; it is killed when we are interrupted."""
    address, password = ([], None) if url is None else _split_password(url)
    process = await asyncio.create_subprocess_exec(
        program.path,
        *map(str, arguments),
        *address,
        env=make_environment(password),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return Said(
        process.returncode == 0, out.decode(errors="replace"), err.decode(errors="replace")
    )


def complain(program: Program, said: Said) -> Unavailable:
    return Unavailable(f"{program.path} ({program.version}) has failed: {said.first_error()}")


def _split_password(url: str) -> tuple[list[str], str | None]:
    parts = make_url(url)
    query = dict(parts.query)
    in_query = query.pop("password", None)
    password = parts.password or (in_query if isinstance(in_query, str) else None)
    bare = URL.create(
        "postgresql",
        username=parts.username,
        host=parts.host,
        port=parts.port,
        database=parts.database,
        query=query,
    )
    return ["--dbname", bare.render_as_string(hide_password=False)], password
