"""SIP over TLS: the wire on bytes alone, and on sockets with peers that are slow, wrong, strange, or have expired."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.net.errors import FlowError, PortBusyError, TlsError
from soip.net.limits import Limits
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.tls import BAD_TLS, Identity, TlsWire, client_context
from soip.net.wire import BAD_FRAMING
from soip.sip import headers as h
from soip.sip.message import Request
from soip.sip.stream import Keepalive, StreamItem
from tests.fuzz.net_tls import fuzz
from tests.net.certs import NAME, Shop, ours, theirs
from tests.net.helpers import PATIENT_S, Recorder, request, until


def message(number: int = 1, body: bytes = b"") -> bytes:
    made = request(body=body)
    made.headers.prepend("Via", f"SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK{number}")
    return made.to_bytes()


# -- the wire alone


def shake(client: TlsWire, server: TlsWire) -> None:
    """Carry bytes both ways until neither has anything to say."""
    while (there := client.output()) or (back := server.output()):
        if there:
            server.feed(there)
        else:
            client.feed(back)


def pair(trust: ssl.SSLContext | None = None, *, asks: bool = False) -> tuple[TlsWire, TlsWire]:
    client = TlsWire(trust or ours().trust(), NAME)
    server = TlsWire(ours().identity(asks=asks).context())
    return client, server


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=4), st.integers(1, 5000))
def test_messages_arrive_whole_however_the_bytes_are_cut(sizes: list[int], piece: int) -> None:
    client, server = pair()
    shake(client, server)
    assert client.ready
    assert server.ready
    for sender, receiver in ((client, server), (server, client)):
        sent = [message(number, b"x" * size) for number, size in enumerate(sizes)]
        data = b"".join(sender.frame(each) for each in sent)
        items: list[StreamItem] = []
        for at in range(0, len(data), piece):
            items += receiver.feed(data[at : at + piece])
        assert [item.to_bytes() for item in items if isinstance(item, Request)] == sent
        assert not receiver.partial
        assert not receiver.ended


def test_nothing_is_ready_before_the_handshake_is_over() -> None:
    client, server = pair()
    hello = client.output()
    assert hello[:2] == b"\x16\x03"
    assert server.feed(hello[:-1]) == []
    assert server.output() == b""
    assert server.partial
    assert not server.ready
    server.feed(hello[-1:])
    assert server.output()


def test_goodbye_is_no_fault() -> None:
    client, server = pair()
    shake(client, server)
    server.feed(client.farewell())
    assert (server.ended, server.fault) == (True, "")
    assert server.feed(b"more") == []


def test_broken_framing_inside_is_a_fault_of_its_own() -> None:
    client, server = pair()
    shake(client, server)
    server.feed(client.frame(b"MESSAGE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"))
    assert (server.ended, server.fault) == (True, BAD_FRAMING)


def test_a_record_that_was_changed_on_the_way_is_a_fault() -> None:
    client, server = pair()
    shake(client, server)
    record = bytearray(client.frame(message()))
    record[40] ^= 1
    assert server.feed(bytes(record)) == []
    assert (server.ended, server.fault) == (True, BAD_TLS)
    assert server.output(), "an alert"
    with pytest.raises(FlowError, match="TLS has ended"):
        server.frame(message())


def test_many_line_breaks_in_records_of_their_own_are_one_ping() -> None:
    client, server = pair()
    shake(client, server)
    assert server.feed(b"".join(client.frame(b"\r\n\r\n") for _ in range(500))) == [Keepalive.PING]


def test_the_names_of_a_peer_are_those_of_a_certificate_of_our_ca() -> None:
    peer = ours().issue("peer", "pbx.example", "PBX2.example", server=False)
    client, server = pair(ours().trust(peer), asks=True)
    shake(client, server)
    assert server.names == {"pbx.example", "pbx2.example"}
    client, server = pair(asks=True)  # none is shown, none is needed
    shake(client, server)
    assert server.ready
    assert server.names == frozenset()
    client, server = pair(ours().trust(peer))  # not asked for
    shake(client, server)
    assert server.names == frozenset()


@pytest.mark.parametrize(
    ("shop", "server", "expired"), [(theirs, False, False), (ours, True, False), (ours, False, True)]
)
def test_a_certificate_of_another_ca_or_use_or_time_ends_the_connection(
    shop: type[Shop], server: bool, expired: bool
) -> None:
    wrong = shop().issue("wrong", "pbx.example", server=server, expired=expired)  # type: ignore[call-arg]  # a function
    client, face = pair(ours().trust(wrong), asks=True)
    shake(client, face)
    assert (face.ended, face.fault) == (True, BAD_TLS)
    assert face.names == frozenset()


def test_old_versions_are_refused() -> None:
    old = ours().trust()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = pair(old)
    shake(client, server)
    assert server.ready
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    client, server = pair(old)
    shake(client, server)
    assert server.fault == BAD_TLS


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=50)
def test_any_bytes_end_it_or_wait(data: bytes) -> None:
    fuzz(data)


# -- files


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    shop = ours()
    certificate, key = shop.issue("named", NAME)
    other = theirs().issue("other", NAME)
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    missing = tmp_path / "none.pem"
    for files in ((missing, key), (certificate, missing), (rubbish, key), (other[0], key)):
        with pytest.raises(TlsError, match=r"cannot be used: .*; 'soip tls init' makes both"):
            Identity(*files)
    with pytest.raises(TlsError, match=r"CA certificate .*rubbish\.pem cannot be used"):
        Identity(certificate, key, rubbish)
    with pytest.raises(TlsError, match=r"CA certificate .*none\.pem cannot be used: No such file"):
        client_context(tmp_path / "none.pem")


def test_a_locked_key_asks_nobody(tmp_path: Path) -> None:
    certificate, key = ours().issue("locked", NAME)
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    private = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(TlsError, match="locked with a password"):
        Identity(certificate, key)


def test_new_files_are_taken_over_and_broken_ones_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    for new, old in zip((certificate, key), ours().issue("first", NAME), strict=True):
        shutil.copy(old, new)
    identity = Identity(certificate, key)
    first = identity.context()
    assert identity.context() is first
    other = ours().issue("second", NAME)
    with caplog.at_level(logging.WARNING):
        shutil.copy(other[0], certificate)  # half replaced: this certificate with the old key
        assert [identity.context() for _ in range(100)] == [first] * 100
        assert len(caplog.records) == 1, "one line for a change, not for a connection"
        shutil.copy(other[1], key)
        second = identity.context()
        assert second is not first
        certificate.unlink()
        assert identity.context() is second
    assert len(caplog.records) == 2


# -- sockets


@asynccontextmanager
async def secure(
    handler: Recorder | None = None,
    *,
    identity: Identity | None = None,
    trust: ssl.SSLContext | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[SipEndpoint]:
    """An endpoint that listens with TLS as well, and believes our CA."""
    listener = (identity or ours().identity()).listener("127.0.0.1", 0, "--sip-tls")
    made = SipEndpoint("127.0.0.1", 0, listeners=[listener], trust=trust or ours().trust(), limits=limits)
    await made.start()
    if handler is not None:
        made.serve(handler)
    try:
        yield made
    finally:
        await made.close()


def place(to: SipEndpoint) -> tuple[str, int]:
    return to.address_towards("127.0.0.1", "tls")


def tls(to: SipEndpoint, name: str = NAME) -> Target:
    return Target("tls", *place(to), name=name)


async def connect(to: SipEndpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*place(to), ssl=ours().trust(), server_hostname=NAME)


async def test_requests_both_ways_over_one_connection() -> None:
    theirs_, mine = Recorder(), Recorder()
    async with secure(theirs_) as bob, secure(mine) as alice:
        assert place(bob) != bob.address
        response = await alice.request(request(body=b"x" * 50_000), tls(bob))
        assert response.status == 200
        (arrived,) = theirs_.requests
        via = h.top_via(arrived.request.headers)
        assert (via.transport, via.port) == ("TLS", place(alice)[1])
        assert (arrived.flow.transport, arrived.flow.connection > 0) == ("tls", True)
        assert bob.certified(arrived.flow) == frozenset()
        assert (await bob.request(request(), arrived.flow)).status == 200
        assert mine.requests[0].flow == await alice.connect(tls(bob))
        flow = mine.requests[0].flow
        await alice.ping(flow, 2.0)
        alice.disconnect(flow)
        await until(lambda: theirs_.closed == [arrived.flow] and mine.closed == [flow])
        assert bob.counters[BAD_TLS] == 0


async def test_by_address_or_by_name_but_each_on_its_own_connection() -> None:
    async with secure(Recorder()) as bob, secure() as alice:
        by_name, by_address = await alice.connect(tls(bob)), await alice.connect(tls(bob, ""))
        assert by_name != by_address
        assert await alice.connect(tls(bob)) == by_name


async def test_a_certified_peer_is_known_by_its_name() -> None:
    peer = ours().issue("peer", "pbx.example", server=False)
    recorder = Recorder()
    async with secure(recorder, identity=ours().identity(asks=True)) as bob, secure(trust=ours().trust(peer)) as pbx:
        assert (await pbx.request(request(), tls(bob))).status == 200
        assert bob.certified(recorder.requests[0].flow) == {"pbx.example"}
        assert pbx.certified(await pbx.connect(tls(bob))) == {NAME}


async def test_a_server_we_cannot_believe_is_not_spoken_to() -> None:
    recorder = Recorder()
    async with secure(recorder) as bob, secure(recorder, identity=ours().identity(expired=True)) as late:
        async with secure(trust=theirs().trust()) as stranger:
            with pytest.raises(FlowError, match="unable to get local issuer certificate"):
                await stranger.request(request(), tls(bob))
        async with secure() as alice:
            with pytest.raises(FlowError, match="mismatch"):
                await alice.request(request(), tls(bob, "other.test"))
            with pytest.raises(FlowError, match="expired"):
                await alice.request(request(), tls(late))
        await until(lambda: bob.counters[BAD_TLS] == 2 and late.counters[BAD_TLS] == 1)
    assert recorder.requests == []


async def test_an_endpoint_without_trust_does_not_speak_tls() -> None:
    async with secure(Recorder()) as bob:
        alice = SipEndpoint("127.0.0.1", 0)
        await alice.start()
        with pytest.raises(FlowError, match="does not speak TLS"):
            await alice.request(request(), tls(bob))
        await alice.close()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(silent, "127.0.0.1", 0) as deaf,
        secure(limits=Limits(connect_seconds=0.2)) as alice,
    ):
        with pytest.raises(FlowError, match=r"no connection to tls:127\.0\.0\.1:\d+ in 0\.2 s"):
            await alice.connect(Target("tls", "127.0.0.1", deaf.sockets[0].getsockname()[1], name=NAME))
        await until(lambda: len(alice._transport.streams) == 0)


async def test_plain_text_on_the_tls_port_is_shut_out_and_harms_nobody() -> None:
    recorder = Recorder()
    async with secure(recorder) as bob:
        good_reader, good_writer = await connect(bob)
        reader, writer = await asyncio.open_connection(*place(bob))
        writer.write(message())
        assert await reader.read() == b"", "what is no TLS gets no alert"
        assert bob.counters[BAD_TLS] == 1
        assert recorder.requests == []
        good_writer.write(message())
        assert (await good_reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
        for each in (writer, good_writer):
            each.close()


@pytest.mark.parametrize("begun", ["nothing", "half", "dripping", "handshake"])
async def test_slow_loris(begun: str) -> None:
    """Neither silence, nor half a handshake, nor a message that drips through a finished one, holds a connection."""
    async with secure(Recorder(), limits=Limits(message_seconds=0.3)) as bob:
        hello = TlsWire(ours().trust(), NAME).output()
        if begun == "handshake":
            reader, writer = await connect(bob)
            writer.write(message()[:10])
        else:
            reader, writer = await asyncio.open_connection(*place(bob))
            writer.write({"nothing": b"", "half": hello[:100], "dripping": b""}[begun])

        async def drip() -> None:
            for at in range(len(hello)):
                writer.write(b"X" if begun == "handshake" else hello[at : at + 1] if begun == "dripping" else b"")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENT_S) == b""
        dripping.cancel()
        assert bob.counters["connections closed for slowness"] == 1
        writer.close()


async def test_half_handshakes_count_as_connections() -> None:
    async with secure(Recorder(), limits=Limits(connections_per_source=2)) as bob:
        half = [await asyncio.open_connection(*place(bob)) for _ in range(2)]
        await until(lambda: len(bob._transport.streams) == 2)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await connect(bob)
        assert bob.counters["connections refused"] == 1
        half[0][1].close()
        await until(lambda: len(bob._transport.streams) == 1)
        _, writer = await connect(bob)
        for each in (writer, half[1][1]):
            each.close()


async def test_a_peer_that_does_not_read_is_dropped() -> None:
    recorder = Recorder()
    async with secure(recorder, limits=Limits(send_buffer=200_000)) as bob:
        reader, writer = await connect(bob)
        writer.write(message())
        await reader.readuntil(b"\r\n\r\n")

        async def flood() -> None:
            for _ in range(1000):
                await bob.send_stateless(request(body=b"x" * 60_000), recorder.requests[0].flow)

        with pytest.raises(FlowError, match="does not read"):
            await flood()
        assert bob.counters["connections closed for not reading"] == 1
        writer.close()


async def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    files = tmp_path / "server.pem", tmp_path / "server.key"

    def put(name: str) -> None:
        for new, made in zip(files, ours().issue(name, f"{name}.test"), strict=True):
            shutil.copy(made, new)

    put("old")
    async with secure(Recorder(), identity=Identity(*files)) as bob, secure() as alice:
        old = await alice.connect(tls(bob, "old.test"))
        put("new")
        new = await alice.connect(tls(bob, "new.test"))
        for flow in (old, new):
            assert (await alice.request(request(), flow)).status == 200
        alice.disconnect(old)
        await until(lambda: not alice.is_open(old))
        with pytest.raises(FlowError, match="mismatch"):
            await alice.connect(tls(bob, "old.test"))


async def test_a_busy_port_is_named_with_its_setting() -> None:
    async with secure() as bob:
        listener = ours().identity().listener(*place(bob), "--sip-tls / SOIP_SIP_TLS")
        twin = SipEndpoint("127.0.0.1", 0, listeners=[listener])
        with pytest.raises(PortBusyError, match=r"in use by another program.*--sip-tls / SOIP_SIP_TLS"):
            await twin.start()
        await twin.close()


def test_the_loop_may_be_uvloop() -> None:
    async def exchange() -> None:
        recorder = Recorder()
        async with secure(recorder, limits=Limits(message_seconds=0.3)) as bob, secure() as alice:
            assert (await alice.request(request(body=b"x" * 60_000), tls(bob))).status == 200
            flow = await alice.connect(tls(bob))
            await alice.ping(flow, 2.0)
            _, writer = await asyncio.open_connection(*place(bob))
            await until(lambda: bob.counters["connections closed for slowness"] == 1)
            writer.close()
            with pytest.raises(FlowError, match="mismatch"):
                await alice.connect(tls(bob, "other.test"))
            alice.disconnect(flow)
            await until(lambda: recorder.closed == [recorder.requests[0].flow])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(exchange())
