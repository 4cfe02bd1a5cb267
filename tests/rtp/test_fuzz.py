"""Each fuzz target on a seeded handful of inputs; `make fuzz` runs them for longer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from soip.rtp import rtcp
from soip.rtp.packet import RtpPacket, build
from tests.fuzz import rtp_aac, rtp_framing, rtp_opus, rtp_packet, rtp_ps, rtp_rtcp, rtp_sps, rtp_video

SEEDS = [
    build(RtpPacket(96, True, 1, 2, 3, b"payload", (4, 5), (0xBEDE, bytes(8)))),
    rtcp.build([rtcp.ReceiverReport(1), rtcp.SourceDescription(1, "name"), rtcp.Nack(1, 2, (3, 4, 90))]),
    bytes.fromhex("42c028da01e0089f9610000003001000000303c8f18319a0"),
    b"Z0LAHukBQHsg,aM4BJiA=",
    *rtp_aac.SAMPLES,
    *rtp_opus.SAMPLES,
    bytes.fromhex("8605" + "7c85aabbcc" + "8604" + "7c05aabb" + "8683" + "7c45aabb" + "84817841"),
]


@pytest.mark.parametrize(
    "fuzz",
    [rtp_aac.fuzz, rtp_framing.fuzz, rtp_opus.fuzz, rtp_packet.fuzz, rtp_rtcp.fuzz, rtp_video.fuzz, rtp_sps.fuzz],
)
def test_fuzz_targets_hold_on_mutated_seeds(fuzz: Callable[[bytes], None]) -> None:
    random = Random(2026)
    for _ in range(1500):
        data = bytearray(random.choice(SEEDS) * random.randint(1, 3))
        for _ in range(random.randint(0, 6)):
            data[random.randrange(len(data))] = random.randrange(256)
        del data[random.randrange(len(data)) + 1 :]
        fuzz(bytes(data))


def test_program_streams_hold_when_mutated() -> None:
    random = Random(2026)
    for _ in range(1500):
        data = bytearray(random.choice(rtp_ps.SAMPLES) * random.randint(1, 2))
        for _ in range(random.randint(0, 6)):
            data[random.randrange(len(data))] = random.choice((0, 0, 1, random.randrange(256)))
        del data[random.randrange(len(data)) + 1 :]
        rtp_ps.fuzz(bytes(data))
