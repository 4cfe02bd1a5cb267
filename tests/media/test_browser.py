"""Frames for browsers: one chunk each, a queue that drops rather than grows old, and a picture at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from soip.media.browser import QUEUE_BYTES, QUEUE_S, Browser, Chunk, Feed, Item, Opening, State
from soip.media.intake import Picture
from soip.mp4.times import utc_of
from soip.rtp.codec import learn
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from tests.media.material import FRAME, SPS, START, START_US, picture
from tests.mp4 import walker
from tests.mp4.material import video


def take(browser: Browser) -> list[Item]:
    """What waits, nothing if nothing does."""
    items, browser._items, browser._bytes = browser._items, [], 0
    return items


def chunks(items: list[Item]) -> list[Chunk]:
    return [item for item in items if isinstance(item, Chunk)]


def kinds(items: list[Item]) -> list[str]:
    return [type(item).__name__ for item in items]


def read(items: list[Item]) -> walker.Movie:
    """All chunks behind the opening, by the plain reader of the tests."""
    opening = next(item for item in items if isinstance(item, Opening))
    return walker.read(opening.init + b"".join([chunk.data for chunk in chunks(items)]))


def samples(items: list[Item]) -> list[int]:
    """The numbers `material.picture` wrote into the frames of all chunks."""
    found = []
    for sample in read(items).samples:
        at, nal = 0, b""
        while at < len(sample.data):
            size = int.from_bytes(sample.data[at : at + 4], "big")
            nal = sample.data[at + 4 : at + 4 + size]
            at += 4 + size
        found.append(int.from_bytes(nal[1:5], "big"))
    return found


def test_each_picture_is_a_chunk_a_decoder_takes() -> None:
    feed, browser = Feed(), Browser()
    assert not feed.join(browser, [])
    for number in range(25):
        feed.push(picture(number))
    items = take(browser)
    assert kinds(items)[:2] == ["State", "Opening"]
    opening = items[1]
    assert isinstance(opening, Opening)
    assert opening.mime == f'video/mp4; codecs="avc1.{SPS[1:4].hex().upper()}"'
    assert samples(items) == list(range(25))
    movie = read(items)
    assert [utc_of(ntp) for ntp, _ in movie.utc] == [START_US + number * 40_000 for number in range(25)]
    assert len(movie.samples) == len(chunks(items))


def test_who_joins_sees_the_pictures_since_the_last_keyframe_at_once_however_old() -> None:
    feed, browser = Feed(), Browser()
    gop = [picture(number, gop=250) for number in range(200)]  # Eight seconds.
    for one in gop:
        feed.push(one)
    assert feed.join(browser, gop)
    items = take(browser)
    assert kinds(items) == ["State", "Opening", "Chunk"]
    assert samples(items) == list(range(200))
    feed.push(picture(200, gop=250))
    feed.push(picture(201, gop=250))
    assert kinds(take(browser)) == ["Chunk", "Chunk"], "what follows is live, one by one"


def test_a_group_too_large_to_be_sent_waits_for_the_next_keyframe() -> None:
    feed, browser = Feed(), Browser()
    gop = [picture(number, size=QUEUE_BYTES // 4) for number in range(5)]
    assert not feed.join(browser, gop)
    feed.push(picture(5))
    assert chunks(take(browser)) == []
    feed.push(picture(25))
    feed.push(picture(26))
    assert len(chunks(take(browser))) == 2


def test_who_joins_between_two_calls_gets_an_opening_although_the_codec_is_the_same() -> None:
    feed, first, second = Feed(), Browser(), Browser()
    feed.join(first, [])
    feed.push(picture(0))
    feed.join(second, [])
    feed.push(picture(1))
    feed.push(picture(25))
    assert kinds(take(first)) == ["State", "Opening", "Chunk", "Chunk", "Chunk"]
    assert kinds(take(second)) == ["State", "Opening", "Chunk"]


def test_another_codec_opens_anew() -> None:
    feed, browser = Feed(), Browser()
    wide = video(2, width=640, height=480).frames[0]
    codec = learn(H264, wide)
    assert codec is not None
    feed.join(browser, [])
    feed.push(picture(0))
    feed.push(replace(picture(10, gop=10), codec=codec))
    feed.push(replace(picture(11, gop=10), codec=codec))
    items = take(browser)
    assert kinds(items) == ["State", "Opening", "Chunk", "Opening", "Chunk", "Chunk"]
    assert items[1] != items[3]


def test_h265_is_told_by_its_name() -> None:
    feed, browser = Feed(), Browser()
    codec = learn(H265, video(2, encoding="H265").frames[0])
    assert codec is not None
    feed.join(browser, [])
    feed.push(replace(picture(0), codec=codec))
    opening = take(browser)[1]
    assert isinstance(opening, Opening)
    assert opening.mime.startswith('video/mp4; codecs="hvc1.1.6.L')
    assert walker.codecs(opening.init) == {1: opening.mime.split('"')[1]}


def test_states_are_told_once_and_before_the_pictures() -> None:
    feed, browser = Feed(), Browser()
    feed.state("live")
    feed.join(browser, [])
    feed.state("live")
    feed.state("no-media")
    assert take(browser) == [State("live"), State("no-media")]
    feed.leave(browser)
    feed.state("live")
    feed.push(picture(0))
    assert take(browser) == []
    assert len(feed) == 0


def test_composition_offsets_are_kept_and_prft_tells_the_presentation() -> None:
    feed, browser = Feed(), Browser()
    feed.join(browser, [])
    for number, offset in enumerate((2 * FRAME, 5 * FRAME, 0)):
        one = picture(number)
        feed.push(replace(one, pts=one.dts + offset, utc_us=one.utc_us + offset * 100 // 9))
    items = take(browser)
    movie = read(items)
    assert [sample.cts for sample in movie.samples] == [2 * FRAME, 5 * FRAME, 0]
    assert [utc_of(ntp) for ntp, _ in movie.utc] == [START_US + 80_000, START_US + 240_000, START_US + 80_000]


def test_a_browser_that_does_not_keep_up_skips_to_the_next_keyframe() -> None:
    feed, browser = Feed(), Browser()
    feed.join(browser, [])
    for number in range(60):
        feed.push(picture(number, gop=40))
    items = take(browser)
    assert samples(items) == list(range(40, 60)), "old pictures go, and what cannot be decoded without them"
    assert browser.dropped == 40
    for number in range(60, 70):
        feed.push(picture(number, gop=40))
    assert len(chunks(take(browser))) == 10


def test_bytes_bound_the_queue_too_but_a_large_keyframe_passes() -> None:
    browser = Browser()
    browser.give(Chunk(bytes(QUEUE_BYTES + 1), True, 0.0))
    assert len(take(browser)) == 1
    browser.give(Chunk(bytes(QUEUE_BYTES // 2), False, 0.0))
    browser.give(Chunk(bytes(QUEUE_BYTES // 2 + 1), False, 0.0))
    assert take(browser) == []
    browser.give(Chunk(b"x", False, 0.1))
    assert take(browser) == []
    browser.give(Chunk(b"x", True, 0.2))
    assert len(take(browser)) == 1


@given(st.lists(st.tuples(st.integers(0, QUEUE_BYTES), st.booleans(), st.floats(0, 0.5)), max_size=60))
def test_whatever_comes_the_queue_is_bounded_and_can_be_decoded(story: list[tuple[int, bool, float]]) -> None:
    browser = Browser()
    now = 0.0
    for size, keyframe, later in story:
        now += later
        browser.give(Chunk(bytes(min(size, 2000)), keyframe, now))
        waiting = chunks(list(browser._items))
        assert sum(len(chunk.data) for chunk in waiting) <= QUEUE_BYTES or len(waiting) == 1
        if waiting:
            assert waiting[0].keyframe
            assert waiting[-1].at - waiting[0].at <= QUEUE_S


async def test_the_socket_waits_for_items_and_takes_them_all() -> None:
    browser = Browser()
    waiting = asyncio.create_task(browser.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    browser.give(State("live"))
    assert await waiting == [State("live")]
    browser.give(Chunk(b"a", True, 0.0))
    browser.give(Chunk(b"b", False, 0.1))
    assert len(await browser.next()) == 2
    browser.give(Chunk(b"c", True, 0.2))
    browser.give(Chunk(b"d", False, 2.0))  # Both are dropped: nothing is left although something came.
    late = asyncio.create_task(browser.next())
    await asyncio.sleep(0)
    assert not late.done()
    browser.give(Chunk(b"e", True, 2.1))
    assert [item.data for item in chunks(await late)] == [b"e"]


def test_media_time_of_chunks_is_that_of_the_recording() -> None:
    feed, browser = Feed(), Browser()
    feed.join(browser, [])
    one: Picture = picture(0)
    feed.push(one)
    assert read(take(browser)).samples[0].dts == START


async def test_frames_that_a_browser_was_not_given_stay_counted_when_it_leaves() -> None:
    feed, slow, quick = Feed(), Browser(), Browser()
    for browser in (slow, quick):
        feed.join(browser, [])
    feed.push(picture(1))
    assert (feed.dropped, feed.queued_bytes) == (2, 0), "they wait for a keyframe"
    feed.push(picture(25))
    assert feed.queued_bytes > 0
    feed.leave(slow)
    feed.leave(slow)
    assert feed.dropped == 2
