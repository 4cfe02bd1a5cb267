"""The SIP server of the benchmark, measured: `ladder_ours DIRECTORY`, then commands, one a line.

`on` and `off` start counting with the ladder looking on or not; `end` prints the CPU time in µs since then. What there
is to be written is written before that, so that none of it falls to the other side.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benches.ladder import PAIRS
from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip import logs
from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.directory.writebehind import WriteBehind
from soip.signalling.ladder import Ladder
from soip.signalling.role import Role
from soip.sip.flow import Address, Flow
from soip.sip.message import Message, Request


class Switched(Ladder):
    """A ladder that can be made to look away."""

    on = False

    def received(self, message: Message, flow: Flow) -> None:
        if self.on:
            super().received(message, flow)

    def sent(self, message: Message, flow: Flow) -> None:
        if self.on:
            super().sent(message, flow)

    def sent_again(self, data: bytes, request: Request, flow: Flow) -> None:
        if self.on:
            super().sent_again(data, request, flow)

    def proven(self, request: Request, flow: Flow, identity: str, *, serves: bool = False) -> None:
        if self.on:
            super().proven(request, flow, identity, serves=serves)

    def leads(self, message: Message, address: Address, identity: str) -> None:
        if self.on:
            super().leads(message, address, identity)


async def main(folder: Path) -> None:
    """Serve until `quit`."""
    place = HostPort("127.0.0.1", 0)
    settings = Settings(data=folder, sip=place, domain="soip.test", media_workers=PAIRS, log_level="error")
    logs.configure(settings, "sip")
    directory = await Directory.open(settings.database_url)
    async with directory, directory.write_behind(interval_s=0.5) as later:
        role = Role(settings, directory, later)
        role._ladder.__class__ = Switched
        serving = asyncio.create_task(role.serve())
        host, port = await role.ready
        tell(f"{host} {port}")
        assert isinstance(role._ladder, Switched)
        await _obey(role, role._ladder, later)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _obey(role: Role, ladder: Switched, later: WriteBehind) -> None:
    began = 0.0
    while (word := (await asyncio.to_thread(sys.stdin.readline)).strip()) != "quit":
        if word == "end":
            role._write_traces()
            await later.flush()
            tell(f"{cpu_us() - began:.0f}")
        else:
            ladder.on = word == "on"
            began = cpu_us()
            tell(word)


if __name__ == "__main__":
    pin(MEASURED_CPU)
    asyncio.run(main(Path(sys.argv[1])))
