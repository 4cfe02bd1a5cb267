"""Sound for phones: made once for all of them, while there are any, and right after what is missing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from soip.media.audio import PHONE_SAMPLES, PhoneSound
from soip.media.intake import Sound
from soip.media.telephone import WAITING, Telephone
from soip.rtp.aac import build_config
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import OPUS, PCMA, PCMU, SoundFormat
from tests.media.house import until
from tests.media.sounds import AAC, PITCH, decode, pitch, tone

START_US = 1_795_168_800_000_000


def sounds(form: SoundFormat, count: int, first: int = 0) -> list[Sound]:
    """Frames of the tone with their times."""
    frames = tone(form)
    length = form.samples(frames[0])
    return [
        Sound(
            AudioFrame(frames[number % len(frames)], number * length, number * length / form.clock_rate, 0),
            START_US + number * length * 1_000_000 // form.clock_rate,
            form,
        )
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("source", [AAC, OPUS, PCMA, PCMU])
@pytest.mark.parametrize("wanted", [PCMU, PCMA])
def test_a_phone_hears_what_the_camera_says(source: SoundFormat, wanted: SoundFormat) -> None:
    given = sounds(source, len(tone(source)))
    made = PhoneSound().feed(given, [wanted])
    assert {len(sound.frame.payload) for sound in made} == {PHONE_SAMPLES}
    assert {sound.format for sound in made} == {wanted}
    steps = {later.frame.timestamp - earlier.frame.timestamp for earlier, later in itertools.pairwise(made)}
    assert steps == {PHONE_SAMPLES}
    assert abs(len(made) * 20_000 - (given[-1].utc_us - given[0].utc_us)) <= 100_000
    heard = decode(wanted, [sound.frame.payload for sound in made])
    assert pitch(heard[1600:]) == pytest.approx(PITCH, rel=0.02)
    assert max(heard[1600:]) > 7000


def test_what_is_missing_is_a_jump_of_the_timestamps_and_what_is_broken_is_left_out() -> None:
    maker = PhoneSound()
    before = maker.feed(sounds(AAC, 10), [PCMU])
    broken = sounds(AAC, 1, first=10)[0]
    broken.frame.payload = b"\xff" * 50
    assert len(maker.feed([broken], [PCMU])) < 5
    after = maker.feed(sounds(AAC, 10, first=40), [PCMU])
    jump = after[0].frame.timestamp - before[-1].frame.timestamp
    apart_us = after[0].utc_us - before[-1].utc_us
    assert 30 * 64_000 - 200_000 < apart_us < 30 * 64_000 + 200_000
    assert abs(jump - apart_us * 8 // 1000) <= 8 * 65


def test_a_camera_that_is_called_anew_may_speak_in_another_way() -> None:
    maker = PhoneSound()
    made = maker.feed([*sounds(AAC, 10), *sounds(OPUS, 40), *sounds(PCMU, 40)], [PCMU])
    stamps = [sound.frame.timestamp for sound in made]
    assert stamps == sorted(set(stamps))
    assert len(made) > 80


class Camera:
    """Stands in for one: its listeners."""

    def __init__(self) -> None:
        self.sounds: set[Callable[[Sound], None]] = set()
        self.telephone = Telephone(self.sounds)

    def working(self) -> bool:
        return self.telephone.working

    def say(self, form: SoundFormat, count: int, first: int = 0) -> None:
        for sound in sounds(form, count, first):
            for listener in tuple(self.sounds):
                listener(sound)


async def test_the_thread_works_while_there_is_a_phone_that_needs_it() -> None:
    camera = Camera()
    ann: list[Sound] = []
    bob: list[Sound] = []
    assert not camera.sounds
    camera.telephone.join(ann.append, PCMU)
    camera.telephone.join(bob.append, PCMU)
    camera.say(AAC, 20)
    assert camera.working()
    await until(lambda: len(ann) > 40, True)
    assert [id(sound) for sound in ann] == [id(sound) for sound in bob], "made once for both"
    camera.telephone.leave(ann.append)
    assert camera.working()
    camera.telephone.leave(bob.append)
    assert not camera.working()
    assert not camera.sounds
    heard = len(ann)
    camera.say(AAC, 20)
    await asyncio.sleep(0.05)
    assert len(ann) == heard


async def test_what_comes_in_the_wanted_encoding_goes_out_as_it_came() -> None:
    camera = Camera()
    heard: list[Sound] = []
    camera.telephone.join(heard.append, PCMU)
    camera.say(PCMU, 10)
    assert [sound.frame.payload for sound in heard] == tone(PCMU)[:10]
    assert not camera.working()
    other: list[Sound] = []
    camera.telephone.join(other.append, PCMA)
    camera.say(PCMU, 10, first=10)
    await until(lambda: len(other) >= 9, True)
    assert {sound.format for sound in other} == {PCMA}
    assert len(heard) == 20
    camera.telephone.leave(other.append)
    assert not camera.working()
    camera.telephone.leave(heard.append)


def test_a_stream_that_is_not_what_it_was_said_to_be_is_no_end() -> None:
    """Two channels where one was told, in the middle of the stream; then as told."""
    stereo = SoundFormat.of_aac(build_config(16_000, 2))
    maker = PhoneSound()
    before = maker.feed(sounds(AAC, 10), [PCMU])
    odd = [replace(sound, format=AAC) for sound in sounds(stereo, 10, first=10)]
    maker.feed(odd, [PCMU])
    after = maker.feed(sounds(AAC, 20, first=20), [PCMU])
    assert before
    assert len(after) > 40


def test_both_kinds_of_phones_are_served_by_one_decoding() -> None:
    made = PhoneSound().feed(sounds(AAC, 20), [PCMU, PCMA])
    mu, a = ([sound for sound in made if sound.format == form] for form in (PCMU, PCMA))
    assert [sound.frame.timestamp for sound in mu] == [sound.frame.timestamp for sound in a]
    for form, packets in ((PCMU, mu), (PCMA, a)):
        assert pitch(decode(form, [sound.frame.payload for sound in packets])[1600:]) == pytest.approx(PITCH, rel=0.02)


async def test_what_the_thread_cannot_take_in_time_is_dropped() -> None:
    camera = Camera()
    heard: list[Sound] = []
    camera.telephone.join(heard.append, PCMU)
    camera.say(OPUS, 10 * WAITING)  # the loop has no turn in between
    await until(lambda: len(heard) >= WAITING - 2, True)
    assert len(heard) <= WAITING
    camera.telephone.leave(heard.append)
