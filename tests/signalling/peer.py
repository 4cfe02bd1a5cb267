"""Raw SIP peers for the tests: sockets, text and a digest, nothing of `soip.net`.

A `Peer` sends what it is told and keeps what arrives; it repeats nothing and acknowledges nothing by itself, so each
test sees every message. `script` answers requests at once where a test needs a living device.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from soip.sip import headers as h
from soip.sip.digest import Credentials, answer_challenge
from soip.sip.headers import Challenge
from soip.sip.message import Headers, Message, Request, Response, parse_message
from soip.sip.reply import make_response
from soip.sip.stream import StreamParser
from soip.sip.uri import Uri, format_host

DOMAIN = "soip.test"
WAIT = 30.0
"""How long a test waits for what should take a moment: machines are busy."""

_numbers = itertools.count(1)


class Peer:
    """One SIP peer: `id` is its user part, `password` answers challenges. Made by `open_peer`."""

    def __init__(self, identity: str, password: str, transport: str, server: tuple[str, int]) -> None:
        self.id = identity
        self.username = identity
        self.password = password
        self.transport = transport
        self.server = server
        self.local: tuple[str, int] = ("", 0)
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.script: Callable[[Request], Response | None] | None = None
        self.cseq = 0
        self.closed = asyncio.Event()
        self._write: Callable[[bytes], None] = lambda _: None
        self._close: Callable[[], None] = lambda: None

    @property
    def contact(self) -> str:
        """The contact as it registers."""
        suffix = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{self.id}@{format_host(*self.local)}{suffix}"

    def request(
        self,
        method: str,
        uri: str,
        *,
        to: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        call_id: str = "",
        rport: bool = True,
    ) -> Request:
        """A new request with a Via of ours on top."""
        number = next(_numbers)
        self.cseq += 1
        via = f"SIP/2.0/{self.transport.upper()} {format_host(*self.local)};branch=z9hG4bK-t{number}"
        lines = [
            ("Via", via + (";rport" if rport else "")),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{self.id}@{DOMAIN}>;tag=f{number}"),
            ("To", to or f"<{uri}>"),
            ("Call-ID", call_id or f"call-{number}@{self.id}"),
            ("CSeq", f"{self.cseq} {method}"),
            *headers,
        ]
        return Request(method, Uri.parse(uri), Headers(lines), body)

    def send(self, message: Message | bytes) -> None:
        """Send a message, or any bytes."""
        self._write(message if isinstance(message, bytes) else message.to_bytes())

    async def receive(self, within: float = WAIT) -> Message:
        """The next message that was not answered by the script. Raises TimeoutError."""
        async with asyncio.timeout(within):
            return await self.inbox.get()

    async def waits(self, count: int) -> list[Message]:
        """So many messages, once all have come, and whatever has come by then. Raises TimeoutError."""
        messages = [await self.receive() for _ in range(count)]
        return messages + [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    async def arrives(self, method: str, within: float = WAIT) -> Request:
        """The next request; it must be of this method."""
        message = await self.receive(within)
        assert isinstance(message, Request), message
        assert message.method == method
        return message

    async def response(self, request: Request, *, provisional: bool = False) -> Response:
        """The next response to a request; 100 is passed over, other provisional ones too unless asked for."""
        sent = h.cseq(request.headers)
        while True:
            message = await self.receive()
            assert isinstance(message, Response), message
            if message.status == 100:
                continue
            assert h.call_id(message.headers) == h.call_id(request.headers)
            if h.cseq(message.headers) == sent and (message.status >= 200 or provisional):
                return message

    async def ask(self, request: Request, *, challenged: bool = True) -> Response:
        """Send, answer one challenge, and give the final response."""
        self.send(request)
        response = await self.response(request)
        if response.status in (401, 407) and challenged:
            retried = self.answer_to(request, response)
            self.send(retried)
            response = await self.response(retried)
        return response

    def answer_to(self, request: Request, response: Response, *, nc: int = 1, password: str = "") -> Request:
        """The request again, with credentials; acknowledges the refused INVITE."""
        if request.method == "INVITE":
            self.send(self.ack(request, response))
        proxy = response.status == 407
        challenge = h.challenges(response.headers, "Proxy-Authenticate" if proxy else "WWW-Authenticate")[0]
        return self.authorised(request, challenge, proxy=proxy, nc=nc, password=password)

    def authorised(
        self, request: Request, challenge: Challenge, *, proxy: bool, nc: int = 1, password: str = ""
    ) -> Request:
        """A copy of the request in a new transaction, with an answer to the challenge."""
        credentials = Credentials(self.username, password or self.password)
        answer = answer_challenge(challenge, request.method, str(request.uri), credentials, "cnonce", nc)
        copy = request.copy()
        self.cseq += 1
        copy.headers.set("CSeq", f"{self.cseq} {request.method}")
        copy.headers.set("Via", str(h.top_via(request.headers).with_param("branch", f"z9hG4bK-t{next(_numbers)}")))
        copy.headers.set("Proxy-Authorization" if proxy else "Authorization", str(answer))
        return copy

    def ack(self, invite: Request, response: Response) -> Request:
        """The ACK for a refusal (same branch) or for a 2xx (new branch, along the recorded route)."""
        if response.status >= 300:
            ack = Request("ACK", invite.uri, invite.headers.copy())
            ack.headers.set("CSeq", f"{h.cseq(invite.headers).number} ACK")
            ack.headers.set("To", response.headers.get("To") or "")
            return ack
        ack = self.within("ACK", invite, response)
        ack.headers.set("CSeq", f"{h.cseq(invite.headers).number} ACK")
        return ack

    def within(self, method: str, invite: Request, response: Response) -> Request:
        """A request of the caller in the dialog that a 2xx to its INVITE made."""
        target = str(h.contacts(response.headers)[0].uri)
        request = self.request(method, target, to=response.headers.get("To") or "", call_id=h.call_id(invite.headers))
        request.headers.set("From", invite.headers.get("From") or "")
        for route in reversed(h.record_routes(response.headers)):
            request.headers.add("Route", str(route))
        return request

    def back(self, method: str, invite: Request, answer: Response) -> Request:
        """A request of the callee in the dialog: `invite` as it came, `answer` as it was given."""
        target = str(h.contacts(invite.headers)[0].uri)
        request = self.request(method, target, to=invite.headers.get("From") or "", call_id=h.call_id(invite.headers))
        request.headers.set("From", answer.headers.get("To") or "")
        for route in h.record_routes(invite.headers):
            request.headers.add("Route", str(route))
        return request

    def reply(self, request: Request, status: int, body: bytes = b"") -> Response:
        """Answer a request; what answers an INVITE carries our contact and the recorded route."""
        response = make_response(request, status, to_tag=f"t-{self.id}", body=body)
        for value in request.headers.get_all("Record-Route"):
            response.headers.add("Record-Route", value)
        response.headers.add("Contact", f"<{self.contact}>")
        self.send(response)
        return response

    async def register(
        self, *, expires: int = 3600, contact: str = "", aor: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> Response:
        """REGISTER with digest, and its final response."""
        lines = (("Contact", contact or f"<{self.contact}>"), ("Expires", str(expires)), *headers)
        to = f"<sip:{aor or self.id}@{DOMAIN}>"
        return await self.ask(self.request("REGISTER", f"sip:{DOMAIN}", to=to, headers=lines))

    def invite(self, uri: str, *, body: bytes = b"v=0\r\n", headers: tuple[tuple[str, str], ...] = ()) -> Request:
        """An INVITE without credentials."""
        return self.request("INVITE", uri, headers=(("Contact", f"<{self.contact}>"), *headers), body=body)

    async def call(self, uri: str, *, body: bytes = b"v=0\r\n", headers: tuple[tuple[str, str], ...] = ()) -> Request:
        """Send an INVITE, answer its challenge, and give the INVITE that is now on its way."""
        invite = self.invite(uri, body=body, headers=headers)
        self.send(invite)
        challenge = await self.response(invite)
        assert challenge.status == 407, challenge
        invite = self.answer_to(invite, challenge)
        self.send(invite)
        return invite

    def take(self, message: Message) -> None:
        """A message has arrived."""
        if isinstance(message, Request) and self.script is not None:
            answer = self.script(message)
            if answer is not None:
                self.send(answer)
                return
        self.inbox.put_nowait(message)

    def close(self) -> None:
        """Close the socket."""
        self._close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._peer.take(parse_message(data))


async def _read(peer: Peer, reader: asyncio.StreamReader) -> None:
    parser = StreamParser()
    while data := await reader.read(65536):
        for item in parser.feed(data):
            if isinstance(item, Request | Response):
                peer.take(item)
    peer.closed.set()


async def _open_socket(peer: Peer, server: tuple[str, int]) -> None:
    """Be a page in a browser: a WebSocket (RFC 7118)."""
    address = f"ws://{format_host(*server)}/sip"
    socket = await connect(address, subprotocols=[Subprotocol("sip")], proxy=None, compression=None)
    peer.local = ("page.invalid", 5060)
    sending: asyncio.Queue[bytes] = asyncio.Queue()

    async def write() -> None:
        while True:
            await socket.send(await sending.get(), text=True)

    async def read() -> None:
        async for data in socket:
            peer.take(parse_message(data.encode() if isinstance(data, str) else data))
        peer.closed.set()

    tasks = [asyncio.ensure_future(write()), asyncio.ensure_future(read())]

    def close() -> None:
        socket.transport.close()
        for task in tasks:
            task.cancel()

    peer._write, peer._close = sending.put_nowait, close


async def open_peer(
    identity: str,
    password: str,
    server: tuple[str, int],
    *,
    transport: str = "udp",
    host: str = "127.0.0.1",
    trust: ssl.SSLContext | None = None,
) -> Peer:
    """A peer with an open socket. Close it at the end of the test. `trust`: what it believes, and shows, over TLS."""
    peer = Peer(identity, password, transport, server)
    if transport == "udp":
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(peer), local_addr=(host, 0))
        # Answers to a flood come all at once.
        udp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        peer.local = udp.get_extra_info("sockname")[:2]
        peer._write = lambda data: udp.sendto(data, server)
        peer._close = udp.close
        return peer
    if transport == "ws":
        await _open_socket(peer, server)
        return peer
    reader, writer = await asyncio.open_connection(*server, local_addr=(host, 0), ssl=trust)
    peer.local = writer.get_extra_info("sockname")[:2]
    task = asyncio.ensure_future(_read(peer, reader))

    def close() -> None:
        writer.close()
        task.cancel()

    peer._write, peer._close = writer.write, close
    return peer


async def eventually(holds: Callable[[], Awaitable[bool]], within: float = WAIT) -> None:
    """Wait until something holds that another process or task brings about. Raises TimeoutError."""
    async with asyncio.timeout(within):
        for pause in itertools.repeat(0.05):
            if await holds():
                return
            await asyncio.sleep(pause)
