"""Seal a file: give it its index, so that players seek at once and nobody walks it again."""

import os
from collections.abc import Sequence

from soip.mp4.boxes import Buffer
from soip.mp4.index import Fragment, index_space
from soip.mp4.reader import Init
from soip.mp4.times import VIDEO_TIMESCALE


def write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """One `pwrite`, and more only where the kernel took less. Raises OSError."""
    done = os.pwrite(descriptor, data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)


def seal(descriptor: int, init: Init, fragments: Sequence[Fragment]) -> None:
    """Write the index into the reserved space and the duration into `mehd`, sync, then flip `free` to `sidx`.

    Needs no space: all these bytes are allocated since the file was made. Raises OSError.
    """
    space = index_space(init, fragments)
    last = fragments[-1]
    duration = (last.time + last.duration) * VIDEO_TIMESCALE // init.tracks[0].timescale
    write_all(descriptor, space[8:], init.index_at + 8)
    write_all(descriptor, max(0, duration).to_bytes(8, "big"), init.mehd_at)
    os.fdatasync(descriptor)
    write_all(descriptor, space[:8], init.index_at)
    os.fdatasync(descriptor)
