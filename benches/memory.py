"""Memory: what a registered camera and an idle TCP connection take in the SIP server's process.

Resident bytes before and after, with a server that has done all of it before for a few: what is made once is not
counted.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.registrar import SETTLED_SECONDS, serving
from benches.registrar_ours import DOMAIN
from soip.process import raise_file_limit
from soip.sip import headers as h
from soip.sip.digest import Credentials, answer_challenge
from soip.sip.message import Headers, Request, Response, parse_message
from soip.sip.uri import Uri

CAMERAS, CONNECTIONS = 20_000, 2_000
MOST_A_CAMERA, MOST_A_CONNECTION = 4.0, 16.0
"""Marks, in kB."""
WARM = 500
"""Cameras that are registered before anything is counted: caches and the like are made once."""
BEFORE = 1500
"""Connections likewise: what the start has left is taken by them."""
PER_SOURCE = 400
"""Connections and cameras of one address: a source may not have as many as all together."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one of `count` takes, in kB, and what it should not pass."""

    what: str
    count: int
    each: float
    mark: float

    def line(self) -> str:
        verdict = "kept" if self.each <= self.mark else "MISSED"
        return f"  {self.each:.1f} kB {self.what} ({self.count} of them), mark {self.mark:g} kB {verdict}"


def run(cameras: int = CAMERAS, connections: int = CONNECTIONS, warm: int = WARM) -> list[Taken]:
    """Measure both, each in a process of its own: what one has freed, the other would take. Raises RuntimeError when
    something is refused.
    """
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        with serving(Path(folder), cameras + warm) as ours:
            _register(ours.port, range(warm))
            time.sleep(SETTLED_SECONDS)  # Nothing tells when the last repeat is no longer waited for.
            before = ours.ask()[1]
            _register(ours.port, range(warm, warm + cameras))
            time.sleep(SETTLED_SECONDS)  # As above.
            after, bindings = ours.ask()[1:]
        if bindings != cameras + warm:
            raise RuntimeError(f"{bindings} are registered of {cameras + warm}")
        (Path(folder) / "few").mkdir()
        with serving(Path(folder) / "few", 1) as ours, _connected(ours.port, range(BEFORE)):
            empty = ours.ask()[1]
            with _connected(ours.port, range(BEFORE, BEFORE + connections)):
                full = ours.ask()[1]
    return [
        Taken("a registered camera", cameras, (after - before) / cameras / 1024, MOST_A_CAMERA),
        Taken("an idle TCP connection", connections, (full - empty) / connections / 1024, MOST_A_CONNECTION),
    ]


def _register(port: int, numbers: range) -> None:
    """REGISTER cameras one after the other, each from a port of its own."""
    for number in numbers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((_source(number), 0))
            sock.settimeout(60)
            answer = _ask(sock, port, number, None)
            if answer.status == 401:
                answer = _ask(sock, port, number, answer)
            if answer.status != 200:
                raise RuntimeError(f"cam{number} was answered {answer.status}")


def _ask(sock: socket.socket, port: int, number: int, challenge: Response | None) -> Response:
    host, own = sock.getsockname()
    name, cseq = f"cam{number}", 1 if challenge is None else 2
    lines = [
        ("Via", f"SIP/2.0/UDP {host}:{own};branch=z9hG4bK-{name}-{cseq};rport"),
        ("Max-Forwards", "70"),
        ("From", f"<sip:{name}@{DOMAIN}>;tag={number}"),
        ("To", f"<sip:{name}@{DOMAIN}>"),
        ("Call-ID", f"{number}-0123456789abcdef@{host}"),
        ("CSeq", f"{cseq} REGISTER"),
        ("Contact", f"<sip:{name}@{host}:{own}>"),
        ("Expires", "3600"),
        ("User-Agent", "camera 1.0 of a maker"),
    ]
    request = Request("REGISTER", Uri("sip", "", DOMAIN), Headers(lines))
    if challenge is not None:
        offered = h.challenges(challenge.headers)[0]
        answer = answer_challenge(offered, "REGISTER", str(request.uri), Credentials(name, "pw"), "cnonce")
        request.headers.add("Authorization", str(answer))
    sock.sendto(request.to_bytes(), ("127.0.0.1", port))
    message = parse_message(sock.recv(65_536))
    assert isinstance(message, Response)
    return message


@contextmanager
def _connected(port: int, numbers: range) -> Iterator[None]:
    """So many connections that have pinged once and then say nothing."""
    with ExitStack() as stack:
        for number in numbers:
            sock = stack.enter_context(socket.socket())
            sock.bind((_source(number), 0))
            sock.settimeout(60)
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"\r\n\r\n")
            if sock.recv(2) != b"\r\n":
                raise RuntimeError(f"connection {number} was not let in")
        yield


def _source(number: int) -> str:
    return f"127.0.3.{number // PER_SOURCE + 1}"
