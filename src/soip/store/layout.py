"""Where a recording lies: `<camera>/<YYYY>/<MM>/<DD>/<HHMMSS>[-n].mp4`, UTC; and when a camera's file turns."""

import re
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from .errors import BadNameError

JOURNAL = "journal.jsonl"

_CAMERA = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FILE = re.compile(r"[A-Za-z0-9._-]{1,64}/\d{4}/\d\d/\d\d/\d{6}(-\d{1,6})?\.mp4")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(utc_us: int) -> datetime:
    """Exact, unlike `datetime.fromtimestamp` of a float. Raises BadNameError outside the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(microseconds=utc_us)
    except OverflowError as error:
        raise BadNameError(f"no such time: {utc_us} µs") from error


def timestamp(utc_us: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    return utc(utc_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> int:
    """UTC microseconds of an RFC 3339 time. Raises ValueError."""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"a time without its offset from UTC: {text}")
    return (when - _EPOCH) // timedelta(microseconds=1)


def day_folder(camera: str, utc_us: int) -> PurePosixPath:
    """The folder of a camera's day. Raises BadNameError for an id that may not be a folder's name."""
    if not _CAMERA.fullmatch(camera) or camera.startswith("."):
        raise BadNameError(f"not a camera id: {camera!r}")
    return PurePosixPath(camera, utc(utc_us).strftime("%Y/%m/%d"))


def file_path(camera: str, start_us: int, number: int = 1) -> str:
    """The path of a recording that starts then; `number` counts those that start in the same second."""
    suffix = f"-{number}" if number > 1 else ""
    return f"{day_folder(camera, start_us)}/{utc(start_us):%H%M%S}{suffix}.mp4"


def camera_of(path: str) -> str:
    """The camera of a recording's path. Raises BadNameError for what is no such path."""
    if not is_file_path(path):
        raise BadNameError(f"not the path of a recording: {path!r}")
    return path.partition("/")[0]


def is_file_path(path: str) -> bool:
    """Whether `camera_of` would accept it."""
    return not path.startswith(".") and _FILE.fullmatch(path) is not None


def turn_us(camera: str, start_us: int, file_seconds: float) -> int:
    """When a file that starts at `start_us` ends at the latest: staggered by camera, so that not all turn at once.

    A file that would be very short is let go on to the next turn.
    """
    length = max(1, round(file_seconds * 1e6))
    phase = zlib.crc32(camera.encode()) % length
    turn = start_us + length - (start_us - phase) % length
    return turn if turn - start_us > length // 10 else turn + length
