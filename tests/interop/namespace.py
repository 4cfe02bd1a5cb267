"""A network of its own for a phone: a namespace joined to the server's by a veth pair, and a capture on its wire.

Addresses are of 198.18.0.0/15, which is set aside for tests between devices (RFC 2544): they meet no real network.
Needs root.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers import need
from tests.site import Program, until

_numbers = itertools.count(os.getpid() * 16)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr} (these tests need root)"


class Namespace:
    """`host` is the server's address, `address` the phone's. Use as `with`; leaving removes both ends."""

    def __init__(self) -> None:
        number = next(_numbers) % (1 << 15)
        network = number * 4  # a /30 of 198.18.0.0/15
        prefix = f"198.{18 + (network >> 16)}.{network >> 8 & 255}"
        self.host, self.address = (f"{prefix}.{(network & 255) + n}" for n in (1, 2))
        self.name = f"soip-{number}"
        self._outer, self.device = f"soip{number}h", f"soip{number}p"

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._outer, "type", "veth", "peer", "name", self.device, "netns", self.name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._outer)
            _ip("link", "set", self._outer, "up")
            inside = ("-n", self.name)
            _ip(*inside, "addr", "add", f"{self.address}/30", "dev", self.device)
            _ip(*inside, "link", "set", "lo", "up")
            _ip(*inside, "link", "set", self.device, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove it; the pair goes with either end."""
        subprocess.run(["ip", "link", "del", self._outer], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def command(self, *command: str) -> list[str]:
        """A command to be run inside."""
        return ["ip", "netns", "exec", self.name, *command]


class Capture:
    """What passes the phone's interface, in a file; `stop` before reading."""

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self.file = folder / f"{namespace.name}.pcap"
        options = ["-i", namespace.device, "-P", "-w", str(self.file), "-f", "udp or tcp", "-B", "32", "-q"]
        self._program = Program(folder / "dumpcap.log", namespace.command(need("dumpcap"), *options))
        until(lambda: "File:" in self._program.text, explain=lambda: self._program.text)

    def stop(self) -> None:
        self._program.stop()

    def fields(self, display: str, *names: str, decode: tuple[str, ...] = ()) -> list[list[str]]:
        """The packets that match a display filter, as fields."""
        command = [need("tshark"), "-n", "-r", str(self.file), "-Y", display, "-T", "fields"]
        command += [part for name in names for part in ("-e", name)]
        command += [part for rule in decode for part in ("-d", rule)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return [line.split("\t") for line in done.stdout.splitlines()]
