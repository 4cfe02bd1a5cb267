"""Keys of SRTP pass where nobody can read them, and nowhere else; no ladder and no log ever shows one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.net.sip import Way as NetWay
from soip.net.target import Target
from soip.signalling import facts
from soip.signalling.flows import FlowKey, InstanceFlow, Way
from soip.signalling.srtpkeys import exposed
from soip.sip import headers as h
from soip.sip import sdes
from soip.sip.flow import Flow
from soip.sip.formats import Audio, Capability, Video
from soip.sip.message import Headers, Request, Response
from soip.sip.offer import Local, make_offer
from soip.sip.sdes import MATERIAL, Srtp
from soip.sip.uri import Uri
from tests.signalling.conftest import ServerHouse, running
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_tls import certify, over_tls

CAM1 = f"sip:cam1@{DOMAIN}"
SRTP = Srtp(bytes(range(MATERIAL)))
MEDIA: list[Capability] = [Video(20_000, receives=True, srtp=SRTP), Audio(20_002, receives=True, srtp=SRTP)]
SECURE = make_offer(Local("127.0.0.1", 1), MEDIA).to_bytes()
KEYS = [str(crypto).split("inline:")[1] for crypto in sdes.offers(SRTP)]
PLAIN = make_offer(Local("127.0.0.1", 1), [Video(20_000, receives=True)]).to_bytes()
SDP = (("Content-Type", "application/sdp"),)

HERE, THERE = ("192.0.2.1", 5060), ("192.0.2.9", 5060)
WORKER = InstanceFlow("media-1")
AT_HAND, AWAY = Flow("tcp", HERE, (HERE[0], 40_000), 1), Flow("tcp", HERE, THERE, 2)
OF_PHONE = FlowKey("tls", *THERE, 3)


def flow(transport: str) -> Flow:
    return Flow(transport, HERE, THERE, 3)


# -- the rule


@pytest.mark.parametrize(
    ("body", "carries"),
    [
        (SECURE, True),
        (SECURE.replace(b"RTP/SAVP", b"rtp/savpf"), True),
        (b"v=0\nm=video 5000 RTP/SAVP 96", True),
        (b"v=0\r\nm=audio 0 RTP/SAVP 0\r\nm=video 5000/2 RTP/SAVP 96\r\n", True),
        (b"v=0\r\nm=video 0 RTP/SAVP 96\r\n", False),
        (PLAIN, False),
        (PLAIN + b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEYS[2].encode() + b"\r\n", False),
        (b"v=0\r\nm=video 5000 UDP/TLS/RTP/SAVPF 96\r\n", False),
        (b"", False),
    ],
)
def test_what_carries_keys(body: bytes, carries: bool) -> None:
    invite = Request("INVITE", Uri.parse(CAM1), Headers([]), body)
    assert bool(exposed(invite, FlowKey("udp", *THERE), flow("udp"), WORKER, AT_HAND)) is carries


@pytest.mark.parametrize(
    ("sender", "source", "receiver", "hop", "words"),
    [
        (OF_PHONE, flow("tls"), WORKER, AT_HAND, ""),
        (OF_PHONE, flow("wss"), WORKER, AT_HAND, ""),
        (OF_PHONE, flow("udp"), WORKER, AT_HAND, "came by UDP"),
        (OF_PHONE, flow("tcp"), WORKER, AT_HAND, "came by TCP"),
        (OF_PHONE, flow("ws"), WORKER, AT_HAND, "came by WS"),
        (OF_PHONE, AT_HAND, WORKER, AT_HAND, "came by TCP"),
        (OF_PHONE, flow("tls"), WORKER, AWAY, "media-1 is on another machine"),
        (OF_PHONE, flow("tls"), WORKER, flow("tls"), ""),
        (WORKER, AT_HAND, OF_PHONE, flow("tls"), ""),
        (WORKER, AT_HAND, OF_PHONE, Target("udp", *THERE), "reached by UDP"),
        (WORKER, AT_HAND, OF_PHONE, flow("tcp"), "reached by TCP"),
        (WORKER, AWAY, OF_PHONE, flow("tls"), "media-1 is on another machine"),
        (OF_PHONE, flow("udp"), OF_PHONE, Target("udp", *THERE), ""),
    ],
)
def test_where_keys_pass(sender: Way, source: Flow, receiver: Way, hop: NetWay, words: str) -> None:
    invite = Request("INVITE", Uri.parse(CAM1), Headers([]), SECURE)
    why = exposed(invite, sender, source, receiver, hop)
    assert words in why
    assert bool(why) is bool(words)
    assert exposed(Request("INVITE", Uri.parse(CAM1), Headers([]), PLAIN), sender, source, receiver, hop) == ""


# -- over real sockets


@pytest.fixture
async def secure(furnished: Path, tmp_path: Path) -> AsyncIterator[ServerHouse]:
    certify(tmp_path / "tls")
    async with running(furnished, tmp_path, sip_tls=HostPort("127.0.0.1", 0)) as house:
        yield house


def warning(response: Response) -> str:
    return response.headers.get("Warning") or ""


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_offer_of_srtp_in_the_clear_is_refused_with_what_to_do(secure: ServerHouse, transport: str) -> None:
    worker = await secure.worker()
    phone = await secure.peer("ann", transport=transport)
    refused = await phone.response(await phone.call(CAM1, body=SECURE, headers=SDP))
    assert refused.status == 488
    assert f"came by {transport.upper()}, where others can read them: use TLS, or RTP/AVP" in warning(refused)
    invite = await phone.call(CAM1, body=PLAIN, headers=SDP)
    worker.reply(await worker.arrives("INVITE"), 486)
    assert (await phone.response(invite)).status == 486, "the media server was asked for the second call alone"


async def test_by_tls_it_reaches_the_media_server_and_later_offers_do_too(secure: ServerHouse) -> None:
    worker, phone = await secure.worker(), await over_tls(secure, "ann")
    invite = await phone.call(CAM1, body=SECURE, headers=SDP)
    arrived = await worker.arrives("INVITE")
    assert arrived.body == SECURE
    worker.reply(arrived, 200)
    ok = await phone.response(invite)
    phone.send(phone.ack(invite, ok))
    await worker.arrives("ACK")
    again = phone.within("INVITE", invite, ok)
    again.body = SECURE
    phone.send(again)
    worker.reply(await worker.arrives("INVITE"), 200)
    assert (await phone.response(again)).status == 200


async def test_who_goes_on_in_the_clear_in_a_call_may_not_bring_new_keys(secure: ServerHouse) -> None:
    worker, phone = await secure.worker(), await over_tls(secure, "ann")
    invite = await phone.call(CAM1, body=PLAIN, headers=SDP)
    worker.reply(await worker.arrives("INVITE"), 200)
    ok = await phone.response(invite)
    phone.send(phone.ack(invite, ok))
    await worker.arrives("ACK")
    elsewhere = await secure.peer("ann")  # by UDP
    again = elsewhere.within("INVITE", invite, ok)
    again.body = SECURE
    refused = await elsewhere.ask(again)
    assert refused.status == 488
    assert "came by UDP" in warning(refused)


async def test_a_camera_is_offered_srtp_by_tls_only(secure: ServerHouse) -> None:
    worker, camera = await secure.worker(), await secure.peer("cam1")
    assert (await camera.register()).status == 200
    refused = await worker.response(await worker.call(CAM1, body=SECURE, headers=SDP))
    assert refused.status == 488
    assert "go by TLS only, and this is reached by UDP" in warning(refused)
    safe = await over_tls(secure, "cam2")
    invite = await worker.call(f"sip:cam2@{DOMAIN}", body=SECURE, headers=SDP)
    arrived = await safe.arrives("INVITE")
    assert arrived.body == SECURE
    safe.reply(arrived, 200)
    assert (await worker.response(invite)).status == 200


async def test_of_a_users_phones_those_by_tls_ring(secure: ServerHouse) -> None:
    worker = await secure.worker()
    open_phone, safe_phone = await secure.peer("ann"), await over_tls(secure, "ann")
    assert (await open_phone.register()).status == 200
    invite = await worker.call(f"sip:ann@{DOMAIN}", body=SECURE, headers=SDP)
    arrived = await safe_phone.arrives("INVITE")
    assert open_phone.inbox.empty()
    safe_phone.reply(arrived, 200)
    assert (await worker.response(invite)).status == 200


# -- what is kept of it


def test_a_ladder_says_that_it_is_srtp_and_never_the_keys() -> None:
    line = facts.media_line(SECURE)
    assert line == "video SRTP H264/H265 20000 recvonly, audio SRTP PCMU/PCMA 20002 recvonly"
    told = Request("INVITE", Uri.parse(CAM1), Headers([*SDP]), SECURE)
    view = facts.view_of(told)
    said = " ".join((facts.line_of(told, view), *facts.facts_of(told, view)))
    assert "SRTP" in said
    for key in KEYS:
        assert key not in said
        assert "crypto" not in said


async def test_keys_are_in_no_trace_in_the_directory_and_no_log(
    secure: ServerHouse, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    worker, phone = await secure.worker(), await over_tls(secure, "ann")
    caplog.set_level("DEBUG")
    invite = await phone.call(CAM1, body=SECURE, headers=SDP)
    worker.reply(await worker.arrives("INVITE"), 200, body=SECURE)
    await phone.response(invite)
    stranger: Peer = await secure.peer("bob")
    await stranger.response(await stranger.call(CAM1, body=SECURE, headers=SDP))

    async def written() -> bool:
        return len(await secure.directory.traces.last()) >= 2

    await eventually(written)
    rows = await secure.directory.traces.last(ladders=True)
    assert any("SRTP" in row.ladder for row in rows)
    everything = [*map(str, rows), caplog.text, *capfd.readouterr(), *_databases(tmp_path)]
    assert h.call_id(invite.headers) in "".join(everything), "this is where it would be"
    for key in KEYS:
        assert not any(key in text for text in everything)


def _databases(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("soip.db*")]
