"""Program streams as they should be, as devices send them, with holes, and made to hurt."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.batch import DatagramBatch
from soip.rtp.nal import MAX_ACCESS_UNIT, AccessUnit
from soip.rtp.packet import RtpPacket, build
from soip.rtp.ps import Demultiplexer, PsReceiver, Sounding
from tests.rtp import program
from tests.rtp.program import (
    AUD,
    PPS,
    SPS,
    Cut,
    annex_b,
    chance_cut,
    cut,
    demultiplex,
    nal,
    nals_of,
    pack,
    pes,
    pictures,
    program_map,
    sounds,
    system,
    unit,
)

BASE = 1 << 33
FRAME = 3600
H264_AND_A_LAW = program_map((0x1B, 0xE0), (0x90, 0xC0))
IDR, SLICE = b"\x65\x88idr", b"\x41\x9aslice"
TONE = bytes(range(0x80, 0xD0)) * 4
"""40 ms of G.711."""


def film(random: Random, count: int = 12, gop: int = 4, most: int = 2000) -> list[list[bytes]]:
    return [unit(random, number % gop == 0, most) for number in range(count)]


def picture(nals: list[bytes], number: int, keyframe: bool, **habits: int) -> bytes:
    """A pack with one picture, as most devices write it."""
    head = pack(number * FRAME, habits.get("stuffing", 0))
    if keyframe:
        head += system() + H264_AND_A_LAW
    content, room = annex_b(nals), habits.get("room", 60_000)
    pieces = [content[at : at + room] for at in range(0, len(content), room)]
    packets = [
        pes(0xE0, piece, number * FRAME if not at else None, length=habits.get("length"))
        for at, piece in enumerate(pieces)
    ]
    return head + b"".join(packets)


def show(
    units: list[list[bytes]], chop: Callable[[bytes, int], list[Cut]], gop: int = 4, **habits: int
) -> list[list[Cut]]:
    """A film picture by picture in packets."""
    return [
        chop(picture(nals, number, number % gop == 0, **habits), number * FRAME) for number, nals in enumerate(units)
    ]


def joined(parts: list[list[Cut]]) -> list[Cut]:
    return [one for part in parts for one in part]


def shown(ready: list[AccessUnit | Sounding]) -> list[list[bytes]]:
    return [nals_of(one) for one in pictures(ready)]


# -- as it should be, in any cut


@given(st.integers(0, 1 << 32), st.sampled_from((0, 1, 7)), st.sampled_from((20, 777, 60_000)))
def test_what_was_multiplexed_comes_out_in_any_cut(seed: int, stuffing: int, room: int) -> None:
    random = Random(seed)
    units = film(random)
    parts = show(units, lambda stream, at: chance_cut(random, stream, at), stuffing=stuffing, room=room)
    demultiplexer = Demultiplexer()
    ready = pictures(demultiplex(joined(parts), into=demultiplexer))
    assert [nals_of(one) for one in ready] == units
    assert [one.timestamp for one in ready] == [BASE + number * FRAME for number in range(len(units))]
    assert [one.keyframe for one in ready] == [number % 4 == 0 for number in range(len(units))]
    assert {one.lost for one in ready} == {0}
    assert demultiplexer.malformed == demultiplexer.oversize == 0
    assert demultiplexer.encoding == "H264"


@given(st.integers(0, 1 << 32))
def test_the_cut_changes_nothing_not_even_with_sound_of_any_bytes(seed: int) -> None:
    random = Random(seed)
    stream = b""
    tones = [random.randbytes(random.choice((160, 320, 400))) for _ in range(6)]
    units = film(random, 6)
    for number, nals in enumerate(units):
        stream += picture(nals, number, number % 4 == 0) + pes(0xC0, tones[number], number * FRAME)
    whole = demultiplex([Cut(stream, 0, False)])
    apart = demultiplex([Cut(one.payload, 0, False) for one in chance_cut(random, stream, 0)])
    for ready in (whole, apart):
        assert shown(ready) == units
        assert b"".join(one.payload for one in sounds(ready)) == b"".join(tones)
        assert [one.timestamp for one in pictures(ready)] == [BASE + number * FRAME for number in range(6)]


@given(st.integers(0, 1 << 32), st.floats(0.01, 0.5), st.sampled_from((60, 200, 1400)))
def test_what_has_a_hole_is_missing_and_counted(seed: int, share: float, size: int) -> None:
    """Every access unit comes whole and equal, or not at all; what is missing is told by the next one."""
    random = Random(seed)
    units = film(random, 16)
    cuts = joined(show(units, lambda stream, at: cut(stream, at, size), room=700))
    missing = [number for number in range(1, len(cuts)) if random.random() < share]
    ready = pictures(demultiplex(cuts, missing))
    came = [one.timestamp - BASE for one in ready]
    for one in ready:
        assert nals_of(one) == units[(one.timestamp - BASE) // FRAME]
    assert came == sorted(set(came))
    touched = {cuts[number].timestamp for number in missing}
    whole = {number * FRAME for number in range(16)} - touched
    # One more may go with each hole: that of which it cannot be told whether its end is missing.
    assert len(whole - set(came)) <= len(touched)
    begun = next((number for number, one in enumerate(cuts) if came and one.timestamp == came[-1]), 0)
    assert sum(one.lost for one in ready) == sum(number < begun for number in missing)


# -- pictures and when they end


def test_a_picture_comes_with_its_marker_once_markers_are_known_to_be_ends() -> None:
    units = film(Random(3), 6, most=3000)
    demultiplexer = Demultiplexer()
    counts = []
    for part in show(units, lambda stream, at: cut(stream, at, 500)):
        demultiplex(part, flush=False, into=demultiplexer)
        counts.append(len(demultiplexer.ready))
    assert counts == [0, 2, 3, 4, 5, 6]
    assert shown(demultiplexer.ready) == units


@pytest.mark.parametrize("marked", ["never", "always", "each PES packet", "after parameter sets"])
def test_other_habits_with_markers_cut_no_picture(marked: str) -> None:
    units = film(Random(4), 12, most=3000)
    cuts: list[Cut] = []
    for number, nals in enumerate(units):
        if marked == "each PES packet":
            cuts += [Cut(pack() + (system() + H264_AND_A_LAW if number % 4 == 0 else b""), number * FRAME, False)]
            content = annex_b(nals)
            for at in range(0, len(content), 500):
                cuts.append(
                    Cut(pes(0xE0, content[at : at + 500], None if at else number * FRAME), number * FRAME, True)
                )
        elif marked == "after parameter sets" and number % 4 == 0:
            sets = [one for one in nals if one in (AUD, SPS, PPS)]
            head = pack() + system() + H264_AND_A_LAW + pes(0xE0, annex_b(sets), number * FRAME)
            cuts.append(Cut(head, number * FRAME, True))
            cuts += cut(pes(0xE0, annex_b(nals[len(sets) :])), number * FRAME, 500)
        else:
            for one in cut(picture(nals, number, number % 4 == 0), number * FRAME, 500):
                cuts.append(Cut(one.payload, one.timestamp, {"never": False, "always": True}.get(marked, one.marker)))
    assert shown(demultiplex(cuts)) == units


def test_slices_of_one_picture_stay_together_and_fields_of_the_next_do_not_join() -> None:
    first = [AUD, SPS, PPS, IDR, b"\x65\x40second slice"]
    second = [SLICE, b"\x41\x60second slice"]
    third = [b"\x06sei\x80", SLICE]
    stream = b"".join(picture(nals, number, not number) for number, nals in enumerate((first, second, third)))
    assert shown(demultiplex([Cut(stream, 0, False)])) == [first, second, third]


def test_several_pictures_in_one_pes_packet_have_the_pts_of_the_first() -> None:
    """ITU-T H.222.0 §2.4.3.7: the PTS is that of the first access unit that begins in the packet."""
    first, second, third = [SPS, PPS, IDR], [SLICE], [SLICE + b"2"]
    stream = pack() + H264_AND_A_LAW + pes(0xE0, annex_b(first)[:10], 900)
    stream += pes(0xE0, annex_b(first)[10:] + annex_b(second) + annex_b(third), 5400)
    ready = pictures(demultiplex([Cut(stream, 77, False)]))
    assert [nals_of(one) for one in ready] == [first, second, third]
    assert [one.timestamp for one in ready] == [BASE + 900, BASE + 5400, BASE + 5400]


@pytest.mark.parametrize("kept", range(1, 5))
def test_a_start_code_across_two_pes_packets_belongs_to_the_first(kept: int) -> None:
    tail = b"\x00\x00\x01" + SLICE
    stream = pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]) + tail[:kept], 900)
    second = pes(0xE0, tail[kept:] + annex_b([SLICE]), 9000)
    ready = pictures(demultiplex([Cut(stream, 0, False), Cut(second, 0, False)]))
    assert [nals_of(one) for one in ready] == [[SPS, PPS, IDR], [SLICE], [SLICE]]
    assert [one.timestamp - BASE for one in ready] == [900, 900, 9000]


# -- time


def one_by_one(times: list[tuple[int | None, int]]) -> list[int]:
    """Ticks of pictures with these PTS and RTP timestamps, from the first on."""
    cuts = [
        Cut(pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]), pts), stamp, True) for pts, stamp in times
    ]
    ready = pictures(demultiplex(cuts))
    assert len(ready) == len(times)
    return [one.timestamp for one in ready]


def test_pts_turn_over_and_step_back() -> None:
    last = (1 << 33) - 100
    assert one_by_one([(last, 0), (50, 1), (last + 40, 2)]) == [BASE + last, 2 * BASE + 50, BASE + last + 40]


def test_without_pts_the_rtp_timestamp_tells_the_time() -> None:
    assert one_by_one([(None, 0xFFFFFFF0), (None, 0x10), (None, 0xFFFFFFFF)]) == [
        BASE + 0xFFFFFFF0,
        BASE + 0x1_00000010,
        BASE + 0xFFFFFFFF,
    ]


def test_between_pictures_with_pts_the_rtp_timestamp_counts_on() -> None:
    assert one_by_one([(7000, 100), (None, 3700), (14_200, 7300)]) == [BASE + 7000, BASE + 10_600, BASE + 14_200]


def test_a_pts_that_stands_still_is_none() -> None:
    assert one_by_one([(0, 100), (0, 3700), (0, 7300)]) == [BASE, BASE + 3600, BASE + 7200]


def test_decoding_times_and_stuffing_in_headers_are_passed_over() -> None:
    stream = pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]), 7200, 3600, filler=9)
    (one,) = pictures(demultiplex([Cut(stream, 5, False)]))
    assert one.timestamp == BASE + 7200


def test_a_header_too_short_for_its_pts_has_none() -> None:
    packet = bytearray(pes(0xE0, annex_b([SPS, PPS, IDR]), filler=3))
    packet[7] |= 0x80
    (one,) = pictures(demultiplex([Cut(pack() + H264_AND_A_LAW + bytes(packet), 5, False)]))
    assert one.timestamp == BASE + 5


# -- maps


def test_h265_is_told_by_the_map_and_by_the_stream() -> None:
    first = [b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps", b"\x26\x01\xafidr", b"\x26\x01\x2fsecond slice"]
    second, third = [b"\x02\x01\xd0p"], [b"\x4e\x01sei\x80", b"\x02\x01\xd0p"]
    for head in (program_map((0x24, 0xE0)), b"", program_map((0x1B, 0xE0))):
        demultiplexer = Demultiplexer()
        stream = pack() + head + b"".join(pes(0xE0, annex_b(nals), 1) for nals in (first, second, third))
        ready = pictures(demultiplex([Cut(stream, 0, False)], into=demultiplexer))
        assert [nals_of(one) for one in ready] == [first, second, third]
        assert [one.keyframe for one in ready] == [True, False, False]
        assert demultiplexer.encoding == "H265"


def test_without_a_map_nothing_comes_before_parameter_sets_tell_the_codec() -> None:
    stream = b"".join(pack() + pes(0xE0, annex_b(nals), 1) for nals in ([SLICE], [SPS, PPS, IDR], [SLICE]))
    assert shown(demultiplex([Cut(stream, 0, False)])) == [[SPS, PPS, IDR], [SLICE]]


def test_of_two_streams_of_video_the_first_is_taken() -> None:
    first, other = pes(0xE0, annex_b([SPS, PPS, IDR]), 1), pes(0xE1, annex_b([SPS, PPS, IDR, SLICE]), 2)
    for head in (b"", program_map((0x1B, 0xE0), (0x1B, 0xE1))):
        ready = demultiplex([Cut(pack() + head + first + other + first + other, 0, False)])
        assert shown(ready) == [[SPS, PPS, IDR]] * 2
    ready = demultiplex([Cut(pack() + program_map((0x10, 0xE0), (0x1B, 0xE1)) + first + other, 0, False)])
    assert shown(ready) == [[SPS, PPS, IDR], [SLICE]]


def test_a_map_that_is_only_announced_changes_nothing() -> None:
    head = H264_AND_A_LAW + program_map((0x1B, 0xE1), current=False)
    assert shown(demultiplex([Cut(pack() + head + pes(0xE0, annex_b([SPS, PPS, IDR]), 1), 0, False)]))


@pytest.mark.parametrize("info", [b"", b"\x0a\x04eng\x00", bytes(200)])
def test_descriptors_in_the_map_are_passed_over(info: bytes) -> None:
    head = pack() + program_map((0x1B, 0xE2), (0x91, 0xC3), info=info)
    ready = demultiplex([Cut(head + pes(0xE2, annex_b([SPS, PPS, IDR]), 1) + pes(0xC3, TONE, 1), 0, False)])
    assert shown(ready) == [[SPS, PPS, IDR]]
    assert {one.encoding for one in sounds(ready)} == {"PCMU"}


@pytest.mark.parametrize(
    "content",
    [
        b"\xe0\xff\xff\xff" + bytes(8),  # descriptors longer than the map
        b"\xe0\xff\x00\x00\xff\xff\x1b\xe0\x00\x00" + bytes(4),  # more streams than there is room for
        b"\xe0\xff\x00\x00\x00\x04\x1b\xe0\xff\xff" + bytes(4),
        b"\xe0\xff\x00\x00\x00\x00" + bytes(4),
    ],
)
def test_maps_with_wrong_lengths_do_no_harm(content: bytes) -> None:
    broken = b"\x00\x00\x01\xbc" + len(content).to_bytes(2, "big") + content
    assert shown(demultiplex([Cut(pack() + broken + pes(0xE0, annex_b([SPS, PPS, IDR]), 1), 0, False)]))


@pytest.mark.parametrize("length", [0, 9, 1019, 65_535])
def test_maps_of_impossible_size_are_searched_for_what_follows(length: int) -> None:
    broken = b"\x00\x00\x01\xbc" + length.to_bytes(2, "big")
    demultiplexer = Demultiplexer()
    stream = pack() + broken + pack() + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    assert shown(demultiplex([Cut(stream, 0, False)], into=demultiplexer))
    assert demultiplexer.malformed == 1


# -- habits and damage


@pytest.mark.parametrize("length", [0, 5, 4000])
def test_wrong_lengths_of_video_do_no_harm(length: int) -> None:
    units = film(Random(5), 8, most=3000)
    assert shown(demultiplex(joined(show(units, lambda s, at: cut(s, at, 700), length=length)))) == units


def test_private_streams_padding_and_the_end_of_a_program_are_passed_over() -> None:
    between = pes(0xBD, b"\x00\x00\x01\xe0 private", 5) + b"\x00\x00\x01\xbe\x00\x03\xff\xff\xff" + b"\x00\x00\x01\xb9"
    between += b"\x00\x00\x01\xbf\x00\x02ab" + b"\x00\x00\x01\xf3\x00\x01x"
    units = film(Random(6), 4)
    stream = b"".join(picture(nals, number, not number) + between for number, nals in enumerate(units))
    demultiplexer = Demultiplexer()
    assert shown(demultiplex([Cut(stream, 0, False)], into=demultiplexer)) == units
    assert demultiplexer.malformed == 0


@pytest.mark.parametrize("filler", [b"\xff", b"\x00"])
def test_stuffing_of_packs_is_passed_over(filler: bytes) -> None:
    stream = pack(0, 7, filler) + H264_AND_A_LAW + pack(0, 3, filler) + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    assert shown(demultiplex([Cut(stream, 0, False)]))


@given(st.integers(0, 1 << 32))
def test_after_rubbish_reading_goes_on_at_the_next_start_code(seed: int) -> None:
    random = Random(seed)
    rubbish = [random.randbytes(random.randrange(1, 400)) for _ in range(3)]
    good = pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    stream = b"".join(one + pes(0xBE, b"", None) + good for one in rubbish)
    assert shown(demultiplex([Cut(stream, 0, False)]))[-1] == [SPS, PPS, IDR]


def test_headers_that_are_none_are_counted() -> None:
    demultiplexer = Demultiplexer()
    good = pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    wrong_pack = b"\x00\x00\x01\xba\x21" + bytes(12)  # of MPEG-1
    wrong_pes = b"\x00\x00\x01\xe0\x00\x05\x21" + bytes(8)
    assert len(shown(demultiplex([Cut(good + wrong_pack + wrong_pes + good, 0, False)], into=demultiplexer))) == 2
    assert demultiplexer.malformed == 2


# -- sound


def test_sound_comes_in_frames_of_20_ms() -> None:
    stream = picture([SPS, PPS, IDR], 0, True) + pes(0xC0, TONE, 9000)
    heard = sounds(demultiplex([Cut(stream, 0, False)]))
    assert b"".join(one.payload for one in heard) == TONE
    assert [(len(one.payload), one.timestamp, one.encoding) for one in heard] == [
        (160, BASE + 9000, "PCMA"),
        (160, BASE + 10_800, "PCMA"),
    ]


def test_without_a_map_sound_is_guessed_once_a_keyframe_has_come() -> None:
    shot = pack() + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    stream = pes(0xC0, TONE, 0) + shot + shot + pes(0xC0, TONE, 9000)
    heard = sounds(demultiplex([Cut(stream, 0, False)]))
    assert {one.encoding for one in heard} == {"PCMA"}
    assert heard[0].timestamp == BASE + 9000
    aac = b"\xff\xf1\x6c\x40\x01\x9f\xfchello"
    (one,) = sounds(demultiplex([Cut(shot + shot + pes(0xC0, aac, 9000), 0, False)]))
    assert (one.encoding, one.payload, one.config) == ("AAC", b"hello", b"\x15\x88")


def test_sound_that_the_map_does_not_name_or_we_do_not_know_is_passed_over() -> None:
    for head in (program_map((0x1B, 0xE0)), program_map((0x1B, 0xE0), (0x99, 0xC0))):
        stream = pack() + head + pes(0xE0, annex_b([SPS, PPS, IDR]), 1) + pes(0xC0, TONE, 1)
        assert not sounds(demultiplex([Cut(stream * 3, 0, False)]))


@pytest.mark.parametrize("length", [3, 100, 331, 500, 65_000])
def test_wrong_lengths_of_sound_cost_sound_but_no_picture(length: int) -> None:
    units = film(Random(7), 8)
    parts = [
        cut(picture(nals, number, number % 4 == 0) + pes(0xC0, TONE, 1, length=length), number * FRAME, 700)
        for number, nals in enumerate(units)
    ]
    # What a length that is too long takes in, is looked through when it is over.
    parts += [cut(picture([SLICE], 8, False) + bytes(66_000), 8 * FRAME, 1400)]
    ready = demultiplex(joined(parts))
    assert shown(ready)[:8] == units


def test_aac_frames_in_pieces_come_whole() -> None:
    frame = b"\xff\xf1\x6c\x40\x01\x9f\xfchello"
    head = pack() + program_map((0x1B, 0xE0), (0x0F, 0xC0)) + pes(0xE0, annex_b([SPS, PPS, IDR]), 1)
    stream = head + pes(0xC0, frame + frame[:4], 9000) + pes(0xC0, frame[4:] + frame, 9000 + 2 * 11_520)
    heard = sounds(demultiplex([Cut(stream, 0, False)]))
    assert [one.payload for one in heard] == [b"hello"] * 3
    step = 1024 * 90_000 // 8000
    assert [one.timestamp - BASE for one in heard] == [9000, 9000 + step, 9000 + 2 * step]


# -- bounds


def test_an_endless_picture_is_dropped() -> None:
    demultiplexer = Demultiplexer()
    begun = Cut(pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]), 1), 0, False)
    demultiplex([begun], into=demultiplexer, flush=False)
    piece = b"\x41" * 60_000
    for _ in range(MAX_ACCESS_UNIT // len(piece) + 2):
        demultiplexer.push(memoryview(piece), 0, len(piece), 0, 0, 0.0)
    assert demultiplexer.oversize == 1
    demultiplex([Cut(picture([SPS, PPS, IDR], 1, True), 0, False)], into=demultiplexer)
    assert shown(demultiplexer.ready) == [[SPS, PPS, IDR]]


HOSTILE = {
    "start codes": b"\x00\x00\x01" * 20,
    "packs": pack() * 20,
    "packets of video": pes(0xE0, b"") * 20,
    "packets of sound that are never whole": b"\x00\x00\x01\xc0\xff\xff\x80\x00\x00" * 20,
    "maps": program_map(*[(0x1B, 0xE0)] * 200),
    "zeros": bytes(100),
    "tiny NAL units": pack() + H264_AND_A_LAW + pes(0xE0, annex_b([SPS, PPS, IDR]) + b"\x00\x00\x01\x41" * 4000, 0),
    "tiny pictures": pack() + H264_AND_A_LAW + pes(0xE0, b"\x00\x00\x01\x65\x88" * 4000, 0),
    "headers of AAC": pack()
    + program_map((0x1B, 0xE0), (0x0F, 0xC0))
    + pes(0xC0, b"\xff\xf1\x6c\x40\xff\xff\xfc" * 4000),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("size", [1, 1400])
def test_hostile_streams_take_linear_time_and_little_memory(kind: str, size: int) -> None:
    sample, enough = HOSTILE[kind], 80_000 if size > 1 else 8_000
    data = (sample * (enough // len(sample) + 1))[:enough]
    demultiplexer = Demultiplexer()

    def spend(rounds: int) -> float:
        began = clock.process_time()
        for _ in range(rounds):
            for at in range(0, len(data), size):
                demultiplexer.push(memoryview(data), at, min(at + size, len(data)), at % 3 == 0, at, 0.0)
            demultiplexer.ready.clear()
        return clock.process_time() - began

    few = min(spend(1) for _ in range(2))
    assert spend(3) < 15 * few + 1.0
    assert len(demultiplexer._buffer) < 1 << 17
    assert len(demultiplexer._video._buffer) <= MAX_ACCESS_UNIT
    assert len(demultiplexer._adts._rest) < 1 << 14


# -- packets


def datagram(one: Cut, sequence: int, ssrc: int = 7) -> bytes:
    return build(RtpPacket(96, one.marker, sequence & 0xFFFF, one.timestamp, ssrc, one.payload))


def test_packets_out_of_order_or_lost() -> None:
    units = film(Random(8), 8, most=3000)
    cuts = joined(show(units, lambda stream, at: cut(stream, at, 500)))
    datagrams = [datagram(one, 65_530 + number) for number, one in enumerate(cuts)]
    datagrams[3], datagrams[4] = datagrams[4], datagrams[3]
    receiver = PsReceiver(96)
    ready = [unit for number, one in enumerate(datagrams) for unit in receiver.receive(one, number / 100)]
    ready += receiver.flush()
    assert shown(ready) == units
    assert receiver.lost == receiver.malformed == receiver.broken_payloads == 0
    assert receiver.jitter > 0
    holed = PsReceiver(96)
    ready = []
    for number, one in enumerate(datagrams):
        if number != 7:
            ready += holed.receive(one, number / 10)
    ready += holed.flush()
    assert holed.lost == 1
    assert sum(one.lost for one in pictures(ready)) == 1
    assert all(nals in units for nals in shown(ready))


@pytest.mark.parametrize("missing", range(1, 30))
def test_what_a_loss_has_reached_is_damaged_up_to_a_keyframe(missing: int) -> None:
    units = film(Random(8), 12, gop=4, most=3000)
    cuts = joined(show(units, lambda stream, at: cut(stream, at, 500)))
    receiver = PsReceiver(96)
    ready = [
        one
        for number, each in enumerate(cuts)
        if number != missing
        for one in receiver.receive(datagram(each, number), number / 10)
    ]
    got = pictures(ready + receiver.flush())
    before = -1
    for one in got:
        number = units.index(nals_of(one))
        assert one.damaged == (not one.keyframe and before != number - 1)
        before = before if one.damaged else number
    assert len(got) < len(units), "what has a hole does not come"


def test_of_an_undisturbed_stream_nothing_is_damaged() -> None:
    units = film(Random(3), 12)
    cuts = joined(show(units, lambda stream, at: cut(stream, at, 500)))
    receiver = PsReceiver(96)
    ready = [one for number, each in enumerate(cuts) for one in receiver.receive(datagram(each, number), number / 10)]
    assert not any(one.damaged for one in pictures(ready + receiver.flush()))


def test_batches_give_the_same_as_datagrams() -> None:
    units = film(Random(9), 4)
    cuts = joined(show(units, lambda stream, at: cut(stream, at, 500)))
    batch, receiver = DatagramBatch(), PsReceiver(96)
    ready: list[AccessUnit | Sounding] = []
    for at in range(0, len(cuts), 20):
        batch.load([datagram(one, at + number) for number, one in enumerate(cuts[at : at + 20])])
        ready += receiver.take(batch, 1.0)
    assert shown(ready + receiver.flush()) == units


def test_another_source_begins_anew() -> None:
    receiver = PsReceiver(96)
    first = Cut(picture([SPS, PPS, IDR], 5, True), 9, True)
    receiver.receive(datagram(first, 1), 0.0)
    receiver.receive(datagram(Cut(picture([SPS, PPS, IDR], 0, True), 9, True), 500, ssrc=8), 10.0)
    (one,) = receiver.flush()
    assert isinstance(one, AccessUnit)
    assert one.timestamp == BASE
    assert program.nals_of(one) == [SPS, PPS, IDR]


def test_chance_nal_units_hold_no_start_code() -> None:
    """The tests' own material."""
    for seed in range(200):
        assert b"\x00\x00\x01" not in nal(Random(seed), 1, 300)
