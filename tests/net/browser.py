"""A browser's side of a SIP WebSocket, for tests: what it sends, as bytes or on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

OPENING = (
    ("Host", "soip.test"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "sip"),
)


def opening(*more: tuple[str, str], without: str = "", host: str = "soip.test") -> bytes:
    """The request that opens a WebSocket, with more header fields or without one."""
    fields = [(name, host if name == "Host" else value) for name, value in OPENING if name != without]
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*fields, *more])
    return f"GET /sip HTTP/1.1\r\n{lines}\r\n".encode()


def text(data: bytes, *, fin: bool = True, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One masked frame, as browsers send it."""
    return Frame(opcode, data, fin).serialize(mask=True)


class Socket:
    """A WebSocket of a test. Made by `open_socket`; raw, so that it can also be wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        self.reader, self.writer, self.answer = reader, writer, answer
        self._frames: list[Frame] = []
        self._protocol = Protocol(CLIENT)

    def send(self, data: bytes, *, opcode: Opcode = Opcode.TEXT) -> None:
        self.writer.write(text(data, opcode=opcode))

    async def frame(self, within: float = 30.0) -> Frame:
        """The next frame, whatever it is. Raises EOFError at the end of the connection."""
        async with asyncio.timeout(within):
            while not self._frames:
                data = b""
                with suppress(ConnectionResetError):
                    data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._protocol.receive_data(data)
                self._frames += [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        return self._frames.pop(0)

    def close(self) -> None:
        self.writer.close()


async def open_socket(address: tuple[str, int], more: Iterable[tuple[str, str]] = (), **how: str) -> Socket:
    """Connect and open; `answer` is the head of what came back. Raises EOFError when nothing does."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(opening(*more, **how))
    try:
        return Socket(reader, writer, await reader.readuntil(b"\r\n\r\n"))
    except (ConnectionResetError, asyncio.IncompleteReadError) as error:
        writer.close()
        raise EOFError from error
