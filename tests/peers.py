"""The programs our tests talk to that are not ours. A missing one fails: what is skipped is not known to work."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parent.parent / "scripts" / "peers"


@cache
def packages() -> dict[str, str]:
    """The Debian package of each program or file the tests need, as `scripts/peers` installs them."""
    return dict(re.findall(r"\[([^\]]+)\]=(\S+)", _SCRIPT.read_text("utf-8")))


def need(program: str) -> str:
    """The path of a program (or of a file, named absolutely). Fails the test, naming the package to install."""
    path = program if program.startswith("/") and Path(program).exists() else shutil.which(program)
    if path is None:
        package = packages().get(program)
        how = f"apt-get install {package}, or `make test` as root" if package else "add its package to scripts/peers"
        pytest.fail(f"{program} is missing: {how}", pytrace=False)
    return path
