"""Logs: what stands in a line, and what must not."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from soip import logs

PROGRAM = """
import logging, sys, structlog
from soip import logs
from soip.config import Settings
logs.configure(Settings(log_format=sys.argv[1]), "test")
log = structlog.get_logger()
name = "a\\x07\\x1b]0;owned\\x07\\r\\nforged=1"
log.info("event \\x1b[2J", name=name, kept="카메라 é", c1="\\x9b31m", many=["\\x1b"], n=7)
logging.getLogger("uvicorn.error").warning("from %s", "outside\\x1b[1m\\n2026-01-01 forged")
try:
    raise ValueError("in a traceback \\x1b[3m")
except ValueError:
    log.exception("failed")
"""


def run(form: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_text_holds_no_control_characters_but_the_ends_of_its_lines() -> None:
    text = run("text")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    first, second, *traceback = text.splitlines()
    assert r"event \x1b[2J" in first
    assert r"a\x07\x1b]0;owned\x07\x0d\x0aforged=1" in first.replace("\\\\", "\\")
    assert "카메라 é" in first
    assert r"\x9b31m" in first
    assert r"outside\x1b[1m\x0a2026-01-01 forged" in second
    assert traceback[1].startswith("Traceback")
    assert traceback[-1] == r"ValueError: in a traceback \x1b[3m"


def test_json_says_the_same() -> None:
    first, second, third = map(json.loads, run("json").splitlines())
    assert (first["event"], first["role"], first["level"], first["n"]) == (r"event \x1b[2J", "test", "info", 7)
    assert first["name"] == r"a\x07\x1b]0;owned\x07\x0d\x0aforged=1"
    assert first["kept"] == "카메라 é"
    assert second["event"] == r"from outside\x1b[1m\x0a2026-01-01 forged"
    assert "\n" in third["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_that_cannot_be_written_ends_nobody(form: str, tmp_path: Path) -> None:
    """A full disk below it; a terminal that hung up is no different."""
    done = tmp_path / "done"
    program = f"{PROGRAM}\nopen({str(done)!r}, 'w').close()\nimport os\nos._exit(0)"
    with open("/dev/full", "w") as full:
        subprocess.run([sys.executable, "-c", program, form], stderr=full, check=True)
    assert done.exists()


def test_a_line_is_one_write() -> None:
    """Processes that share a log without buffers (`PYTHONUNBUFFERED`) would come between a line and its end."""

    writes: list[str] = []

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    logs._Logger(Terminal()).info("one line")
    assert writes == ["one line\n"]
