"""The demonstration running, with a third camera whose past has a gap in it."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from soip.agents import blockcode
from soip.directory.directory import Directory
from tests.site import DOMAIN, PASSWORD, Program, Site, now_us

FILE_SECONDS = 20
GATE, GATE_NAME = "gate", "Main gate"
REALM = DOMAIN
PEOPLE_PASSWORD = "people's password"
PATIENT_S = 90.0
"""How long a test waits for what should take a moment: machines are busy."""
STALE_S = 1.0
"""A live picture is younger than this."""


@dataclass(frozen=True)
class Past:
    """What became of the gate camera, in ms UTC: recorded from `began`, killed, back; recorded again ever since."""

    began: float
    killed: float
    back: float


class Product:
    """`soip demo` and its directory. Blocking work of the site runs in threads, the browser goes on meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, file_seconds=FILE_SECONDS)
        self.directory: Directory
        self.gate: Program
        self._past: asyncio.Task[Past]

    @property
    def base(self) -> str:
        return self.site.base

    @property
    def admin_password(self) -> str:
        return (self.site.data / "admin-password").read_text().strip()

    async def start(self) -> None:
        """The console answers, both cameras of the demonstration are recorded; the gate's past begins."""
        site = self.site
        site.server = site.run("demo", [sys.executable, "-m", "soip", "demo"], site.settings)
        await self.until(self._answers)
        self.directory = await Directory.open(f"sqlite+aiosqlite:///{site.data / 'soip.db'}")
        await self.directory.cameras.add(GATE, realm=REALM, password=PASSWORD, name=GATE_NAME)
        await self.open_gate()
        await self.until(lambda: all(self._files(camera) for camera in ("cam1", "cam2", GATE)))
        self._past = asyncio.create_task(self._make_past())

    async def close(self) -> None:
        self._past.cancel()
        await asyncio.gather(self._past, return_exceptions=True)
        await self.directory.close()
        await asyncio.to_thread(self.site.__exit__, None, None, None)

    async def past(self) -> Past:
        """The gate's past, once it has happened."""
        return await asyncio.shield(self._past)

    async def open_gate(self) -> None:
        """The gate camera is switched on."""
        self.gate = await asyncio.to_thread(self.site.simulate, GATE)

    async def add_person(self, name: str, role: str) -> None:
        await self.directory.users.add(name, password=PEOPLE_PASSWORD, role=role, realm=REALM, sip_password="unused")

    async def until(self, condition: Callable[[], object], within: float = PATIENT_S) -> None:
        """Wait for a condition without standing in the browser's way."""
        deadline = time.monotonic() + within
        while True:
            if await asyncio.to_thread(condition):
                return
            assert time.monotonic() < deadline, self.site.explain()
            await asyncio.sleep(0.1)

    def file_change(self, camera: str) -> float | None:
        """When a file was begun without a break after one that is long enough to look back into, in ms UTC."""
        for (began, ended), (next_began, _) in itertools.pairwise(self._files(camera)):
            if next_began - ended < 100_000 and ended - began > 9_000_000:
                return next_began / 1000
        return None

    async def _make_past(self) -> Past:
        began = self._files(GATE)[0][0] / 1000
        await self.until(lambda: self.file_change(GATE), 2 * FILE_SECONDS + PATIENT_S)
        await asyncio.sleep(4)
        killed = now_us() / 1000
        await asyncio.to_thread(self.gate.kill)
        await asyncio.sleep(8)
        await self.open_gate()

        def again() -> list[tuple[int, int]]:
            return [file for file in self._files(GATE) if file[0] > killed * 1000]

        await self.until(lambda: (files := again()) and files[-1][1] - files[0][0] > 8_000_000)
        return Past(began, killed, again()[0][0] / 1000)

    def _files(self, camera: str) -> list[tuple[int, int]]:
        """Starts and ends of a camera's recordings so far, in µs UTC."""
        query = "SELECT start_us, end_us FROM recording WHERE camera_id = ? ORDER BY start_us"
        return [(start, end) for start, end in self.site.query(query, camera)]

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.base}/api/health", trust_env=False, timeout=PATIENT_S).status_code == 200
        return False


def hash_of(camera: str) -> int:
    """What the stamps of a camera carry."""
    return blockcode.camera_hash(camera)
