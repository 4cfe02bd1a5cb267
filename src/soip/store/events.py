"""What a writer reports of a recording. Every event comes on the disk's thread."""

from dataclasses import dataclass

from soip.mp4.index import Fragment

from .recording import Recording


@dataclass(frozen=True, slots=True)
class Opened:
    """The file exists and holds its first fragment."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class Written:
    """A fragment is in the file. `seconds`: how long its write took; `waited`: how long it was queued before."""

    recording: Recording
    fragment: Fragment
    seconds: float
    waited: float


@dataclass(frozen=True, slots=True)
class Sealed:
    """The file is complete. The last event of a recording that had a fragment written."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class DiskFull:
    """A fragment found no room; nothing since `since_us` is recorded. `Sealed` follows if there is a file.

    Ask `Root.has_room()` before a new recording is begun.
    """

    camera: str
    since_us: int


@dataclass(frozen=True, slots=True)
class WriteFailed:
    """The disk refused for another reason, or the root is missing or foreign; nothing since `since_us` is recorded."""

    camera: str
    since_us: int
    reason: str


Event = Opened | Written | Sealed | DiskFull | WriteFailed
