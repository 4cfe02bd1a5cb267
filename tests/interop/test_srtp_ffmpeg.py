"""ffmpeg has an SRTP of its own: it opens what our sockets send, and ours open what it sends."""

from __future__ import annotations

import secrets
import subprocess
import time
from base64 import b64encode
from pathlib import Path

import pytest

from soip.net.rtp import Peer, RtpSocketPair
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, AccessUnit, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream
from soip.sip.sdes import AES_CM_128_HMAC_SHA1_32, AES_CM_128_HMAC_SHA1_80, Crypto, Keying, Suite
from tests.interop.film import make_film
from tests.mp4.material import video
from tests.net.rtp_pairs import BUFFER, LOOPBACK, open_pairs
from tests.peers import need
from tests.site import PATIENT_S

pytestmark = pytest.mark.interop

PAYLOAD_TYPE = 96
RATE = 25
suites = pytest.mark.parametrize("suite", [AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32], ids=lambda one: one.name)
"""ffmpeg knows no AES-GCM."""


def keying(suite: Suite) -> Keying:
    return Keying(suite, secrets.token_bytes(suite.length), secrets.token_bytes(suite.length))


@suites
def test_ffmpeg_shows_what_we_send(suite: Suite, tmp_path: Path) -> None:
    keys = keying(suite)
    with open_pairs(2) as (ours, room):
        port = room.port  # ffmpeg binds it, and the one above, as soon as they are free
        room.rtp.close()
        room.rtcp.close()
        sdp = tmp_path / "session.sdp"
        sdp.write_text(
            f"v=0\no=- 1 1 IN IP4 {LOOPBACK}\ns=-\nc=IN IP4 {LOOPBACK}\nt=0 0\n"
            f"m=video {port} RTP/SAVP {PAYLOAD_TYPE}\na=rtpmap:{PAYLOAD_TYPE} H264/90000\n"
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1\na=crypto:{Crypto(1, suite.name, keys.ours)}\n"
        )
        allowed = ("-protocol_whitelist", "file,udp,rtp,srtp")
        command = [need("ffmpeg"), "-v", "error", *allowed, "-i", str(sdp), "-frames:v", "30", "-f", "framemd5", "-"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ffmpeg:
            ours.connect(Peer(LOOPBACK, port))
            ours.secure(keys)
            _send_until(ours, ffmpeg)
            shown, errors = ffmpeg.communicate(timeout=PATIENT_S)
        assert ffmpeg.returncode == 0, errors
        assert "HMAC" not in errors
        assert len([line for line in shown.splitlines() if not line.startswith("#")]) == 30


def _send_until(pair: RtpSocketPair, program: subprocess.Popen[str]) -> None:
    """Send pictures at their pace until the program has ended."""
    # Numbers that do not wrap soon: who begins to listen after that counts them wrongly for ever (RFC 3711 §3.3.1).
    frames, stream = video(RATE, RATE).frames, SendStream(PAYLOAD_TYPE, secrets.randbits(32), 1000)
    sender = pair.sender(PACKET_SIZE, lambda: None)
    deadline, number = time.monotonic() + PATIENT_S, 0
    while program.poll() is None and time.monotonic() < deadline:
        sender.send(stream.stamp(packetise(H264, frames[number % RATE]), 3600 * number))
        number += 1
        time.sleep(1 / RATE)  # The pace of a camera.


@suites
def test_we_open_what_ffmpeg_sends(suite: Suite, tmp_path: Path) -> None:
    keys, film = keying(suite), make_film(tmp_path / "film.mp4", 2)
    params = ("-srtp_out_suite", suite.name, "-srtp_out_params", b64encode(keys.theirs).decode())
    receiver, got = VideoReceiver(PAYLOAD_TYPE), list[AccessUnit]()
    with open_pairs() as (pair,):
        pair.allow([LOOPBACK])
        pair.secure(keys)
        copy = ("-c:v", "copy", "-an", "-bsf:v", "h264_mp4toannexb", "-f", "rtp", "-payload_type", str(PAYLOAD_TYPE))
        where = f"srtp://{LOOPBACK}:{pair.port}?pkt_size=1200"
        command = [need("ffmpeg"), "-v", "error", "-re", "-i", str(film), *copy, *params, where]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as ffmpeg:
            while ffmpeg.poll() is None:
                got += pair.drain(receiver, BUFFER, time.monotonic())
                time.sleep(0.01)  # As often as a poll would look.
            _, errors = ffmpeg.communicate(timeout=PATIENT_S)
        got += pair.drain(receiver, BUFFER, time.monotonic()) + receiver.flush()
        assert ffmpeg.returncode == 0, errors
        assert pair.srtp is not None
        assert pair.srtp.refused == receiver.malformed == receiver.lost == 0
        assert len(got) == 2 * RATE
        assert got[0].keyframe
