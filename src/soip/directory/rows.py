"""What the directory hands out and takes in: one frozen dataclass for each noun.

All times are µs UTC since 1970. The fields of the rows that are saved whole (`SavedRow`) are named like their
columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class AccountKind(StrEnum):
    """What an id belongs to. A camera with an id of its own has no account: its device registers for it."""

    USER = "user"
    DEVICE = "device"
    CAMERA = "camera"
    MEDIA_SERVER = "media_server"


@dataclass(frozen=True, slots=True)
class Account:
    """Who may register or call by SIP.

    `ha1` maps digest algorithm names as RFC 7616 and 8760 write them (MD5, SHA-256, SHA-512-256) to
    H(user:realm: password) in lower-case hex; the account is challenged with these algorithms only. A user may have
    none, and then registers from a browser only. `cameras`
    are the cameras of a device, `role` is a user's; both are empty for the other kinds.
    """

    id: str
    kind: AccountKind
    ha1: Mapping[str, str] = field(repr=False)
    cameras: tuple[str, ...] = ()
    role: str | None = None


@dataclass(frozen=True, slots=True)
class UserRow:
    """A person: `role` is the one granted for the whole organisation."""

    id: str
    display_name: str
    role: str | None
    created_us: int


@dataclass(frozen=True, slots=True)
class CameraRow:
    """What is addressed and recorded. `plan` is the plan's name: always or never. `audio`: record its
    sound too. `transport`: what its media comes over, udp or tcp. `priority` from 0 to 9: where disks cannot take all
    cameras, the lowest stop first. `sub`: it has a sub-stream beside its main one.
    """

    id: str
    device_id: str
    name: str
    plan: str = "always"
    audio: bool = False
    transport: str = "udp"
    site_id: str = "default"
    zone_id: str | None = None
    place: str = ""
    purpose: str = ""
    legal_basis: str = ""
    classification: str = ""
    created_us: int = 0
    priority: int = 5
    sub: bool = False


@dataclass(frozen=True, slots=True)
class BindingRow:
    """Where an address of record is reached (RFC 3261 §10.3), so that a restarted registrar knows it again.

    `flow` says over which flow it registered and `target` where requests go, both in the words of the
    signalling role; `path` is the Path header's value (RFC 3327), empty without one. `instance_id` and
    `reg_id` are the device's own (RFC 5626 §4.1).
    """

    aor: str
    contact: str
    account_id: str
    flow: str
    call_id: str
    cseq: int
    registered_us: int
    expires_us: int
    path: str = ""
    instance_id: str = ""
    reg_id: int = 0
    user_agent: str = ""
    target: str = ""
    q: float = 1.0


@dataclass(frozen=True, slots=True)
class MediaInstance:
    """A media worker as it announces itself. `sip` and `http` are HOST:PORT; `epoch` rises with every start, `beat`
    with every heartbeat.

    `lease_s`: for so many seconds after a heartbeat it holds its cameras. `accepting`: it takes new ones. `streams` are
    cameras in a call with it, `in_bps` and `out_bps` their pictures in bit/s, live; `disk_free` and `disk_total` are
    bytes, of all its disks. `disks` is JSON, one list for each: [path, state, free, total].
    """

    id: str
    server_id: str
    worker: int
    sip: str
    http: str
    epoch: int
    started_us: int
    heartbeat_us: int
    beat: int = 0
    lease_s: float = 15.0
    accepting: bool = True
    streams: int = 0
    viewers: int = 0
    in_bps: int = 0
    out_bps: int = 0
    disk_free: int = 0
    disk_total: int = 0
    disks: str = "[]"


@dataclass(frozen=True, slots=True)
class HomeRow:
    """Which media instance serves a camera, and since when. `epoch` rises with every move; `previous_id` is the
    instance it came from, empty for a camera that is in its first home.
    """

    camera_id: str
    instance_id: str
    epoch: int
    since_us: int
    previous_id: str = ""


@dataclass(frozen=True, slots=True)
class CameraStateRow:
    """What its media server says of a camera: recording, live, no-media, offline or idle, and since when."""

    camera_id: str
    media: str
    since_us: int
    instance_id: str
    updated_us: int


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """One file. `path` is relative to `root`; `tracks` is JSON; `sha256` covers the fragments, empty until
    sealed. `damaged` pictures cannot be shown as they were taken, for `lost` packets were lost on the way from the
    camera; `damage` is JSON: [[start µs, end µs, pictures, packets]] of each damaged stretch.
    """

    id: str
    camera_id: str
    server_id: str
    instance_id: str
    root: str
    path: str
    start_us: int
    end_us: int
    stream: str = "main"
    bytes: int = 0
    frames: int = 0
    tracks: str = "[]"
    trigger: str = "plan"
    sealed: bool = False
    sha256: str = ""
    damaged: int = 0
    lost: int = 0
    damage: str = "[]"


@dataclass(frozen=True, slots=True)
class GapRow:
    """A time without a recording, and why. `detail` says more, for example how many packets were lost."""

    id: str
    camera_id: str
    start_us: int
    end_us: int
    cause: str
    instance_id: str = ""
    stream: str = "main"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HoldRow:
    """Recordings of a camera that touch this time are kept until it is released. `reference`: a case number, say."""

    id: str
    camera_id: str
    start_us: int
    end_us: int
    reason: str = ""
    reference: str = ""
    created_by: str = ""
    created_us: int = 0
    released_us: int | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened at a camera. `start_us` is when the server took it, by its own clock.

    `kind` is alarm; `priority` and `method` are the alarm's own numbers; `body` is what it said, as it is passed on;
    `detail` is for people; `source` is the account that told it. `position` rises with each row (the directory gives
    it). `handed_us`: when the camera's media server took it, None until then.
    """

    id: str
    camera_id: str
    kind: str
    start_us: int
    end_us: int | None = None
    source: str = ""
    detail: str = ""
    position: int = 0
    priority: int | None = None
    method: int | None = None
    body: str = ""
    handed_us: int | None = None


@dataclass(frozen=True, slots=True)
class EventPositionRow:
    """The last event somebody acknowledged, of a camera or (`resource` "") of all."""

    user_id: str
    resource: str
    position: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class DialogRow:
    """The journal of a running call, enough to end it after a restart. `route_set` is JSON: a list of
    Route values.
    """

    id: str
    instance_id: str
    camera_id: str
    call_id: str
    local_uri: str
    local_tag: str
    remote_uri: str
    remote_tag: str
    remote_target: str
    route_set: str
    cseq: int
    rtp_port: int
    started_us: int


@dataclass(frozen=True, slots=True)
class CallTraceRow:
    """One call as the SIP server saw it. There are only so many `slot`s, so only so many calls are ever kept.

    `group_id` is the id of the call this one was made for, else its own. `caller` and `callee` are ids; `proven`: the
    caller's is. `times` in a row the same call failed in the same way. `state` is calling, ringing, established, ended,
    cancelled or failed; `verdict` is JSON: {code, who, origin, status, reason, seconds, text, hint}. `ladder` is JSON:
    {call_id, caller, left_out, parties: [[address, name]], messages: [[µs since the start, from, to, line, cseq,
    [facts], repeats]]}, where party 0 is the server and `left_out` messages are missing after the first 60.
    """

    slot: int
    id: str
    group_id: str
    started_us: int
    updated_us: int
    caller: str
    proven: bool
    callee: str
    state: str
    times: int
    verdict: str
    ladder: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to what, and when."""

    at_us: int
    actor: str
    action: str
    target: str
    detail: str = ""


SavedRow = (
    BindingRow | MediaInstance | CameraStateRow | RecordingRow | GapRow | DialogRow | EventPositionRow | CallTraceRow
)
"""Rows that are saved whole, by their key: an insert, or a replacement of the row that was there."""
