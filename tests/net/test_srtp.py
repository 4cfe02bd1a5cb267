"""SRTP on media sockets: the standards' vectors, the plain twin, frames and batches; and what must not come through."""

from __future__ import annotations

import socket
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.net.rtp import Peer, RtpSocketPair
from soip.net.srtp import MOST_SOURCES, Opened, Srtp, SrtpSender
from soip.rtp import rtcp
from soip.rtp.batch import DatagramBatch
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, AccessUnit, packetise
from soip.rtp.packet import RtpPacket, build
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream
from soip.sip.sdes import AEAD_AES_128_GCM, AES_CM_128_HMAC_SHA1_80, MATERIAL, SUITES, Keying, Suite
from soip.sip.sdes import Srtp as Offered
from tests.net import srtp_twin
from tests.net.rtp_pairs import BUFFER, LOOPBACK, open_pairs, peer, port_of
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, random_unit

HERE, THERE = Offered(bytes(range(MATERIAL))), Offered(bytes(range(50, 50 + MATERIAL)))
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def ends(suite: Suite = AEAD_AES_128_GCM) -> tuple[Srtp, Srtp]:
    """Both ends of one media part."""
    here, there = HERE.key(suite), THERE.key(suite)
    return Srtp(Keying(suite, here, there)), Srtp(Keying(suite, there, here))


def packet(sequence: int = 1, payload: bytes = b"payload", ssrc: int = SSRC) -> bytes:
    return build(RtpPacket(PAYLOAD_TYPE, False, sequence & 0xFFFF, 9, ssrc, payload))


def frames(count: int, seed: int = 1) -> list[list[bytes]]:
    """Runs of datagrams of so many access units."""
    random, stream = Random(seed), SendStream(PAYLOAD_TYPE, SSRC, sequence=65_500)
    return [stream.stamp(packetise(H264, random_unit(random, n % 10 == 0)), 3600 * n) for n in range(count)]


def cut(runs: list[bytes], segment: int) -> list[bytes]:
    """The datagrams of runs, as the kernel cuts them."""
    return [run[at : at + segment] for run in runs for at in range(0, len(run), segment)]


# -- the standards


def test_the_twin_derives_what_rfc_3711_says() -> None:
    # Appendix B.3.
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    derive = srtp_twin.derive
    assert derive(key, salt, srtp_twin.CIPHER, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert derive(key, salt, srtp_twin.SALT, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert derive(key, salt, srtp_twin.AUTH, 20).hex().upper() == "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"


def test_the_twin_encrypts_what_rfc_7714_says() -> None:
    # §16.1.1, whose keys are those of the session.
    header = bytes.fromhex("8040f17b8041f8d35501a0b2")
    sealed = srtp_twin.gcm(
        bytes(range(16)), b"Quid pro quo", header, b"Gallia est omnis divisa in partes tres", 0x5501A0B2, 0, 0xF17B
    )
    assert sealed.hex() == (
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    )


@every_suite
@given(st.data())
def test_our_packets_are_those_of_the_twin(suite: Suite, data: st.DataObject) -> None:
    master = data.draw(st.binary(min_size=suite.length, max_size=suite.length))
    payload = data.draw(st.binary(min_size=1, max_size=1188))
    plain = packet(data.draw(st.integers(0, 65_535)), payload, data.draw(st.integers(0, 2**32 - 1)))
    sealed = Srtp(Keying(suite, master, bytes(suite.length))).protect(plain)
    assert sealed == srtp_twin.protect(suite, master, plain)
    assert len(sealed) == len(plain) + suite.tag
    assert Srtp(Keying(suite, bytes(suite.length), master)).unprotect(sealed) == plain


def test_numbers_that_wrap_are_counted_on() -> None:
    here, there = ends()
    for number in range(65_530, 65_545):
        sealed = here.protect(packet(number))
        assert sealed == srtp_twin.protect(AEAD_AES_128_GCM, HERE.key(AEAD_AES_128_GCM), packet(number), number >> 16)
        assert there.unprotect(sealed) == packet(number)


# -- frames and batches


@every_suite
def test_a_frame_leaves_in_few_sends_and_every_packet_can_be_opened(suite: Suite) -> None:
    here, there = ends(suite)
    with peer() as sink, socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((LOOPBACK, port_of(sink)))
        sender = SrtpSender(sock, PACKET_SIZE, here)
        assert sender.offload
        for runs in frames(20):
            sender.send(runs)
            expected = cut(runs, PACKET_SIZE)
            assert [there.unprotect(sink.recv(65_536)) for _ in expected] == expected
        assert sender.offload
        assert sender.dropped == sender.refused == 0


def test_a_picture_of_the_largest_kind_still_fits_into_its_sends() -> None:
    here, there = ends()
    stream = SendStream(PAYLOAD_TYPE, SSRC)
    runs = stream.stamp(packetise(H264, [b"\x65" + bytes(400_000)]), 0)
    sealed = here.protect_runs(runs, PACKET_SIZE)
    segment = PACKET_SIZE + AEAD_AES_128_GCM.tag
    assert max(map(len, sealed)) <= 65_000
    assert max(-(-len(run) // segment) for run in sealed) <= 64
    assert [there.unprotect(one) for one in cut(sealed, segment)] == cut(runs, PACKET_SIZE)


@every_suite
@pytest.mark.parametrize("joined", [False, True])
def test_the_batch_path_brings_what_the_plain_path_brings(suite: Suite, joined: bool) -> None:
    here, there = ends(suite)
    plainly, receiver = VideoReceiver(PAYLOAD_TYPE), VideoReceiver(PAYLOAD_TYPE)
    opened = Opened(there, receiver)
    batch = DatagramBatch()
    want: list[AccessUnit] = []
    got: list[AccessUnit] = []
    for now, runs in enumerate(frames(60), 1):
        for one in cut(runs, PACKET_SIZE):
            want += plainly.receive(one, now)
        for run in here.protect_runs(runs, PACKET_SIZE):
            datagrams = cut([run], PACKET_SIZE + suite.tag)
            for at in range(0, len(datagrams), 32):
                (batch.load_joined if joined else batch.load)(datagrams[at : at + 32])
                got += opened.take(batch, now)
    assert [(unit.timestamp, [bytes(nal) for nal in unit.nals]) for unit in got] == [
        (unit.timestamp, [bytes(nal) for nal in unit.nals]) for unit in want
    ]
    assert len(got) > 50
    assert receiver.lost == receiver.malformed == there.refused == 0


def test_bad_packets_between_good_ones_are_dropped_and_counted_and_harm_nobody() -> None:
    random = Random(4)
    here, there = ends()
    stranger = Srtp(Keying(AEAD_AES_128_GCM, bytes(28), bytes(28)))
    receiver = VideoReceiver(PAYLOAD_TYPE)
    opened, batch, got, bad = Opened(there, receiver), DatagramBatch(), [], 0
    past: list[bytes] = []
    for now, runs in enumerate(frames(40), 1):
        for plain in cut(runs, PACKET_SIZE):
            good = here.protect(plain)
            flipped = bytearray(good)
            flipped[random.randrange(len(good))] ^= 1 << random.randrange(8)
            datagrams = [stranger.protect(plain), bytes(flipped), good, good, *past[-1:], good[: random.randrange(40)]]
            random.shuffle(datagrams)
            past.append(good)
            bad += len(datagrams) - 1
            batch.load(datagrams)
            got += opened.take(batch, now)
    assert len(got) > 30
    assert receiver.lost == 0
    assert receiver.malformed == there.refused == bad


def test_what_is_longer_than_any_packet_is_refused_both_ways() -> None:
    here, there = ends()
    assert here.protect(packet(payload=bytes(1500))) == b""
    assert here.protect_control(bytes(1500)) == b""
    assert there.unprotect(bytes(9000)) == there.unprotect(b"") == there.unprotect_control(b"") == b""
    assert there.refused == 3


# -- keys and sources


def test_a_packet_that_is_asked_for_again_becomes_the_same_bytes() -> None:
    here, there = ends()
    first = [here.protect(packet(number)) for number in range(300)]
    assert [here.protect(packet(number)) for number in (7, 3, 250)] == [first[7], first[3], first[250]]
    late = first.pop(290)
    for one in first:
        assert there.unprotect(one)
    assert there.unprotect(late) == packet(290)
    assert there.unprotect(late) == b""


def test_new_keys_begin_anew_and_those_that_stay_go_on() -> None:
    here, there = ends()
    sent = [here.protect(packet(number)) for number in (65_535, 65_536)]
    assert all(map(there.unprotect, sent))
    suite, ours, theirs = here.keying.suite, here.keying.ours, bytes(28)
    here.rekey(Keying(suite, ours, theirs))  # the peer has a new key, ours is as it was
    there.rekey(Keying(suite, theirs, ours))
    assert there.unprotect(sent[1]) == b"", "replayed: what was seen is still known"
    assert there.unprotect(here.protect(packet(65_537))) == packet(65_537), "counted on over the wrap"
    assert here.unprotect(there.protect(packet(1))) == packet(1)
    here.rekey(Keying(AES_CM_128_HMAC_SHA1_80, bytes(30), bytes(30)))
    there.rekey(Keying(AES_CM_128_HMAC_SHA1_80, bytes(30), bytes(30)))
    assert there.unprotect(here.protect(packet(5))) == packet(5)


def test_a_peer_that_makes_up_sources_does_not_fill_the_memory() -> None:
    here, there = ends()
    for ssrc in range(20 * MOST_SOURCES):
        assert there.unprotect(here.protect(packet(ssrc=ssrc)))
        assert len(there._sources) <= MOST_SOURCES
    newest = here.protect(packet(2, ssrc=20 * MOST_SOURCES - 1))
    assert there.unprotect(newest)
    assert there.unprotect(newest) == b"", "those that are kept are kept with all they have seen"


def test_control_packets_both_ways() -> None:
    here, there = ends()
    report = rtcp.build([rtcp.ReceiverReport(7), rtcp.SourceDescription(7, "name")])
    sealed = here.protect_control(report)
    assert report not in sealed
    assert there.unprotect_control(sealed) == report
    assert there.unprotect_control(sealed) == there.unprotect_control(report) == b""
    assert there.refused == 2


# -- on sockets


@every_suite
def test_a_session_over_real_sockets(suite: Suite) -> None:
    here, there = Keying(suite, HERE.key(suite), THERE.key(suite)), Keying(suite, THERE.key(suite), HERE.key(suite))
    receiver = VideoReceiver(PAYLOAD_TYPE)
    with open_pairs(2) as (out, into):
        out.connect(Peer(LOOPBACK, into.port))
        into.allow([LOOPBACK])
        out.secure(here)
        into.secure(there)
        sender, got = out.sender(PACKET_SIZE, lambda: None), []
        for number, runs in enumerate(frames(50)):
            sender.send(runs)
            got += into.drain(receiver, BUFFER, float(number))
        assert len(got) == 50
        assert receiver.lost == receiver.malformed == 0
        report = rtcp.build([rtcp.ReceiverReport(7)])
        assert into.send_control(report, Peer(LOOPBACK, out.port + 1))
        assert out.send_control(report)
        assert _control(out, report)
        assert _control(into, report)
        out.send_packet(packet(9, ssrc=5))
        out.secure(None)
        out.send_packet(packet(10))  # in the clear, as an attacker would
        out.send_control(report)
        into.drain(receiver, BUFFER, 50.0)
        assert (receiver.foreign, receiver.malformed) == (1, 1)
        into.drain_control(BUFFER)
        assert into.srtp is not None
        assert into.srtp.refused == 2


def _control(pair: RtpSocketPair, report: bytes) -> bool:
    """Whether this is what comes; on loopback it is there as soon as it is sent."""
    return pair.drain_control(BUFFER) == [report]


def test_what_cannot_be_protected_is_not_sent() -> None:
    with open_pairs(2) as (out, into):
        out.connect(Peer(LOOPBACK, into.port))
        out.secure(Keying(AEAD_AES_128_GCM, bytes(28), bytes(28)))
        out.send_packet(packet(payload=bytes(1500)))
        assert not out.send_control(bytes(2000))
        with pytest.raises(BlockingIOError):
            into.rtp.recv(9)
