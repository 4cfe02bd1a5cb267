"""Seal a file: give it its index, so that players seek at once and nobody walks it again."""

import os
from collections.abc import Sequence

from soip.mp4.boxes import Buffer
from soip.mp4.index import Fragment, index_space
from soip.mp4.reader import Init
from soip.mp4.times import VIDEO_TIMESCALE

_IOV_MAX = 1024  # Linux


def write_all(descriptor: int, parts: Sequence[Buffer], offset: int) -> None:
    """Write the parts in a row: by one `pwritev`, and more only where the kernel took less. Raises OSError."""
    for first in range(0, len(parts), _IOV_MAX):
        some = parts[first : first + _IOV_MAX]
        size = sum(map(len, some))
        done = os.pwritev(descriptor, some, offset)
        if done < size:
            rest = memoryview(b"".join(some))
            while done < size:
                done += os.pwrite(descriptor, rest[done:], offset + done)
        offset += size


def seal(descriptor: int, init: Init, fragments: Sequence[Fragment]) -> None:
    """Write the index into the reserved space and the duration into `mehd`, sync, then flip `free` to `sidx`.

    Needs no space: all these bytes are allocated since the file was made. Raises OSError.
    """
    space = index_space(init, fragments)
    last = fragments[-1]
    duration = (last.time + last.duration) * VIDEO_TIMESCALE // init.tracks[0].timescale
    write_all(descriptor, [space[8:]], init.index_at + 8)
    write_all(descriptor, [max(0, duration).to_bytes(8, "big")], init.mehd_at)
    os.fdatasync(descriptor)
    write_all(descriptor, [space[:8]], init.index_at)
    os.fdatasync(descriptor)
