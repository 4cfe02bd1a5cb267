"""Regular expressions that mean the same to every interpreter we run on."""

from __future__ import annotations

import re
from pathlib import Path

import soip

SOURCE = Path(soip.__file__).parent
_POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")


def test_no_group_is_repeated_possessively() -> None:
    """Python 3.11.0 to 3.11.4, which Debian 12 has, take `(?:ab)*+c` for a match of `ac` (CPython issue 106052)."""
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if _POSSESSIVE_GROUP.search(line)
    ]
    assert found == [], "write (?>(?:…)*) instead"
