"""What each fuzz target starts from: good input, made from what the rooms' own tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from websockets.frames import Opcode

from soip.net.tls import TlsWire
from soip.policy import siptoken
from soip.policy.mediaurl import issue
from soip.rtp import rtcp
from soip.rtp.framing import frame
from soip.rtp.packet import RtpPacket, build
from tests.agents.test_nalsplit import IDR, PPS, RECORD, SLICE, SPS, annex_b, prefixed
from tests.fuzz import (
    control_manscdp,
    control_moved,
    net_resolver,
    net_tls,
    policy_dialplan,
    policy_mediaurl,
    policy_siptoken,
    rtp_aac,
    rtp_opus,
    rtp_ps,
    signalling_flowtoken,
    signalling_register,
    sip_dialogs,
    sip_multicast,
    sip_sdes,
    sip_sdp,
    sip_stun,
    sip_transaction,
)
from tests.mp4.files import pieces, sealed
from tests.mp4.material import video
from tests.net.browser import opening, text
from tests.sip.captures import BARESIP_ANSWER, BARESIP_OFFER
from tests.sip.samples import MESSAGE, RESPONSE, SAMPLES

PACKET = build(RtpPacket(96, True, 1, 2, 3, b"payload", (4, 5), (0xBEDE, bytes(8))))
CONTROL = rtcp.build([rtcp.ReceiverReport(1), rtcp.SourceDescription(1, "name"), rtcp.Nack(1, 2, (3, 4, 90))])
SEQUENCE_SET = bytes.fromhex("42c028da01e0089f9610000003001000000303c8f18319a0")
SEQUENCE_SET_H265 = bytes.fromhex("01010160000003009000000300000300")
VIDEO_H265 = bytes.fromhex("87066201930aab" + "85066201130a" + "86866201530abb" + "8505020141")
VIDEO = bytes.fromhex("8605" + "7c85aabbcc" + "8604" + "7c05aabb" + "8683" + "7c45aabb" + "84817841")


def _nalsplit() -> Iterable[bytes]:
    packets = [prefixed([SPS, PPS, IDR]), annex_b([SPS, PPS, IDR, SLICE])]
    return [bytes([len(RECORD)]) + RECORD[1:] + packet for packet in packets] + packets


def _mp4_fronts() -> Iterable[bytes]:
    front, fragments = pieces(3, 2, True)
    return [front, sealed(front, fragments)[: len(front) + 900]]


def _mp4_fragments() -> Iterable[bytes]:
    return [pieces(1, 2, True)[1][0], pieces(1)[1][0]]


STARTS: dict[str, Callable[[], Iterable[bytes]]] = {
    "agents_nalsplit": _nalsplit,
    "control_manscdp": lambda: control_manscdp.SAMPLES,
    "control_moved": lambda: list(control_moved.SAMPLES),
    "mp4_fragment": _mp4_fragments,
    "mp4_init": _mp4_fronts,
    "mp4_rewrite": _mp4_fragments,
    "mp4_walk": _mp4_fragments,
    "net_resolver": lambda: net_resolver.SAMPLES,
    "net_tls": lambda: [TlsWire(net_tls.TRUST, "sip.test").output(), MESSAGE, b"\x15\x03\x03\0\x02\x02\x28"],
    "net_websocket": lambda: [opening(), text(MESSAGE), text(MESSAGE[:20], fin=False) + text(b"", opcode=Opcode.PING)],
    "policy_dialplan": lambda: policy_dialplan.SAMPLES,
    "policy_mediaurl": lambda: [issue(policy_mediaurl.KEY, "bob", "cam1", "live", 4e9).encode()],
    "policy_siptoken": lambda: [siptoken.issue(policy_siptoken.KEY, "bob", policy_siptoken.EXPIRES).encode()],
    "rtp_aac": lambda: rtp_aac.SAMPLES,
    "rtp_h265": lambda: [VIDEO_H265],
    "rtp_h265sets": lambda: [SEQUENCE_SET_H265, video(1, encoding="H265").frames[0][1][2:]],
    "rtp_opus": lambda: rtp_opus.SAMPLES,
    "rtp_framing": lambda: [b"\x10" + b"".join([frame(PACKET), frame(CONTROL), b"\0\0\xf0", frame(PACKET)])],
    "rtp_packet": lambda: [PACKET],
    "rtp_ps": lambda: rtp_ps.SAMPLES,
    "rtp_rtcp": lambda: [CONTROL],
    "rtp_sps": lambda: [SEQUENCE_SET, b"Z0LAHukBQHsg,aM4BJiA="],
    "rtp_video": lambda: [VIDEO],
    "signalling_facts": lambda: [*SAMPLES, BARESIP_OFFER],
    "signalling_flowtoken": lambda: signalling_flowtoken.SAMPLES,
    "signalling_register": lambda: signalling_register.SAMPLES,
    "sip_dialogs": lambda: sip_dialogs.SAMPLES,
    "sip_message": lambda: SAMPLES,
    "sip_sdes": lambda: sip_sdes.SAMPLES,
    "sip_multicast": lambda: sip_multicast.SAMPLES,
    "sip_sdp": lambda: [BARESIP_ANSWER, BARESIP_OFFER, sip_sdp.OFFER.to_bytes(), sip_sdp.SECURE_OFFER.to_bytes()],
    "sip_stream": lambda: [b"\r\n\r\n" + MESSAGE, RESPONSE],
    "sip_stun": lambda: sip_stun.SAMPLES,
    "sip_transaction": sip_transaction.samples,
    "web_range": lambda: [b"2026-11-20T10:00:00Z/2026-11-20T19:00:00.5+09:00"],
}
"""By the target's module name; a test holds that none is missing."""
