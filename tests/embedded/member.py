"""A process that uses the embedded Postgres until its standard input is closed."""

import sys
from pathlib import Path

root, data_dir, *pg_bin = sys.argv[1:]
sys.path.insert(0, root)

from app.embedded import EmbeddedPostgres, EmbeddedPostgresError  # noqa: E402

postgres = EmbeddedPostgres(
    Path(data_dir), pg_bin=Path(pg_bin[0]) if pg_bin else None, fsync=False
)
try:
    answer = postgres.start()
except EmbeddedPostgresError as failure:
    answer = f"refused: {failure}"
sys.stdout.write(f"{answer}\n")
sys.stdout.flush()
sys.stdin.read()
postgres.stop()
