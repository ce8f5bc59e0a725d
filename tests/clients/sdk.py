"""Scripts over a real DashScope SDK, each run by an interpreter that has only address and key."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app._setup import OLD_SDK_FOLDER, OLD_SDK_LOCK

OLD = "1.25.2"
NEWEST = "newest"
RUN_SECONDS = 60

_HEAD = """
import asyncio, json, sys
from pathlib import PurePosixPath
from urllib.parse import unquote, urlparse
import dashscope, requests
from dashscope import ImageSynthesis
from dashscope.aigc.image_synthesis import AioImageSynthesis

arguments = json.loads(sys.argv[1])
order = dict(model="wan2.5-i2i-preview", prompt="make it blue", n=1, seed=7)

def show(answer):
    print(json.dumps({"status": answer.status_code, "code": answer.code or "",
        "message": answer.message or "", "output": dict(answer.output or {}),
        "usage": dict(answer.usage or {})}))
"""


@dataclass(frozen=True)
class Sdk:
    """One version of the SDK, and whom and where its scripts call."""

    version: str
    base_url: str
    key: str = field(repr=False)
    folder: Path

    async def run(self, script: str, *arguments: object) -> list[Any]:
        """What the script prints, one JSON document a line; it finds its `arguments` there.

        `show(answer)` prints an answer of the classic SDK, `order` are usual arguments of a call.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _HEAD + script, json.dumps(arguments)),
            env=self._make_environment(),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        deadline = asyncio.get_running_loop().call_later(RUN_SECONDS, process.kill)
        output, errors = await process.communicate()
        deadline.cancel()
        assert process.returncode == 0, (output + errors).decode()
        return [json.loads(line) for line in output.decode().splitlines()]

    def _make_environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "DASHSCOPE_HTTP_BASE_URL": self.base_url,
            "DASHSCOPE_API_KEY": self.key,
        }
        if self.version == OLD:
            environment["PYTHONPATH"] = str(find_old_sdk())
        return environment


def find_old_sdk() -> Path:
    """The folder of dashscope 1.25.2; the test fails where it is missing."""
    if not (OLD_SDK_FOLDER / "dashscope").is_dir():
        pytest.fail(
            f"dashscope {OLD} is not in {OLD_SDK_FOLDER}: `python3 -m app test` installs it, or "
            f"`python -m pip install --no-deps --require-hashes --target {OLD_SDK_FOLDER} "
            f"-r {OLD_SDK_LOCK}`"
        )
    return OLD_SDK_FOLDER
