"""What the recorder makes of the pictures of a fragment, beside the same told picture by picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from soip.media.intake import Picture
from soip.media.recorder import _Fragment
from soip.mp4.writer import Run, Sample
from soip.rtp.nal import AccessUnit
from tests.media.material import CODEC

USUAL = 3600


@dataclass(frozen=True)
class Step:
    """A picture: ticks since the one before, and how much later it is shown; bytes, and of those a hole before it."""

    ticks: int
    later: int
    size: int
    hole: int
    elsewhere: bool
    keyframe: bool
    damaged: bool
    lost: int


STEPS = st.builds(
    Step,
    ticks=st.integers(1, 9000),
    later=st.integers(-100, 20_000),
    size=st.integers(1, 50),
    hole=st.sampled_from([0, 0, 0, 7]),
    elsewhere=st.sampled_from([False, False, False, True]),
    keyframe=st.booleans(),
    damaged=st.booleans(),
    lost=st.sampled_from([0, 0, 3]),
)


def pictures(steps: list[Step]) -> list[Picture]:
    arenas = [memoryview(bytes(range(256)) * 40), memoryview(bytes(range(255, -1, -1)) * 40)]
    made, at, dts = list[Picture](), [0, 0], 1 << 40
    for number, step in enumerate(steps):
        which = int(step.elsewhere)
        start = at[which] + step.hole
        at[which] = start + step.size
        unit = AccessUnit(arenas[which], start, at[which], dts, step.keyframe, 0.0, step.lost, damaged=step.damaged)
        made.append(Picture(unit, CODEC, dts, dts + step.later, 0, number == 0))
        dts += step.ticks
    return made


def plain(shown: list[Picture], end: int | None) -> Run:
    samples: list[Sample] = []
    for number, one in enumerate(shown):
        if number + 1 < len(shown):
            duration = shown[number + 1].dts - one.dts
        elif end is not None:
            duration = end - one.dts
        else:
            duration = samples[-1].duration if samples else USUAL
        unit = one.unit
        samples.append(Sample(unit.size, duration, one.pts - one.dts, unit.keyframe, unit.damaged))
    content = [one.unit.sample for one in shown]
    return Run(1, shown[0].dts, samples, content, sum(one.unit.lost for one in shown))


@settings(max_examples=200)
@given(st.lists(STEPS, min_size=1, max_size=40), st.booleans())
def test_a_fragment_is_what_its_pictures_are(steps: list[Step], followed: bool) -> None:
    shown = pictures(steps)
    fragment = _Fragment(shown[0], 180_000)
    for one in shown:
        fragment.add(one)
    end = shown[-1].dts + steps[-1].ticks if followed else None
    run, want = fragment.run(end, USUAL), plain(shown, end)
    assert run._replace(content=()) == want._replace(content=())
    assert all(type(sample.sync) is bool and type(sample.damaged) is bool for sample in run.samples)
    assert b"".join(run.content) == b"".join(want.content)
    assert len(run.content) <= 1 + sum(step.hole > 0 or step.elsewhere for step in steps) * 2
    assert fragment.bytes == sum(one.unit.size for one in shown)
    assert run.duration == sum(sample.duration for sample in want.samples)


def test_time_never_stands_still_in_a_file() -> None:
    """Where the camera's clock does: a duration of 0 or less is none."""
    (first,) = pictures([Step(1, 0, 5, 0, False, True, False, 0)])
    fragment = _Fragment(first, 180_000)
    for behind in (0, 0, 10):
        fragment.add(replace(first, dts=first.dts - behind))
    run = fragment.run(first.dts - 20, USUAL)
    assert [sample.duration for sample in run.samples] == [1, 1, 1]
