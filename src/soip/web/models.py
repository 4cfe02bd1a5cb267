"""The bodies of the API, as its OpenAPI description shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Time = Annotated[str, Field(description="RFC 3339, UTC", examples=["2026-11-20T10:00:00.000Z"])]


class SignIn(BaseModel):
    """What opens a session."""

    name: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=1024)


class SessionView(BaseModel):
    """Who is signed in, and what they may do."""

    user: str
    role: str
    permissions: list[str]


class CameraView(BaseModel):
    """A camera and its two states: can it be called, and do its media arrive. `sub`: it has a sub-stream."""

    id: str
    name: str
    record: str
    audio: bool
    transport: Literal["udp", "tcp"]
    sub: bool
    signalling: Literal["online", "offline"]
    media: Literal["recording", "live", "no-media", "offline", "idle"]
    since: Time | None
    instance: str | None


class DiskView(BaseModel):
    """A disk of a media worker. `full`: it takes no more, or no more of all cameras; `slow`: it does not answer;
    `away`: it is not there, or another one is.
    """

    path: str
    state: Literal["ready", "full", "slow", "away"]
    free: int
    total: int


class WorkerView(BaseModel):
    """A media worker and what it carries. `full`: its disk takes no more, so it is given no new camera; `away`: not
    heard of for a while. `cameras` are placed on it, `streams` of them it receives; rates are of live pictures.
    """

    id: str
    server: str
    state: Literal["ready", "full", "away"]
    heard: Time
    cameras: int
    streams: int
    viewers: int
    in_bps: int
    out_bps: int
    disk_free: int
    disk_total: int
    disks: list[DiskView]


class RecordingView(BaseModel):
    """One file's time."""

    start: Time
    end: Time
    sealed: bool


class GapView(BaseModel):
    """A time without a recording, and why."""

    start: Time
    end: Time
    cause: str


class DamageView(BaseModel):
    """A recorded time in which pictures cannot be shown as they were taken: packets were lost on the way from the
    camera.
    """

    start: Time
    end: Time
    pictures: int
    packets: int


class TimelineView(BaseModel):
    """What is recorded of a camera in a range, what is not, and what of it is damaged. `now` is the server's clock."""

    camera: str
    start: Time = Field(serialization_alias="from")
    end: Time = Field(serialization_alias="to")
    now: Time
    recordings: list[RecordingView]
    gaps: list[GapView]
    damage: list[DamageView]


class HoldView(BaseModel):
    """Recordings of a camera in a range that are kept until the hold is released."""

    id: str
    camera: str
    start: Time = Field(serialization_alias="from")
    end: Time = Field(serialization_alias="to")
    reason: str
    reference: str
    by: str
    created: Time
    released: Time | None


class HoldRequest(BaseModel):
    """What is to be held, and why."""

    start: str = Field(alias="from", max_length=64)
    end: str = Field(alias="to", max_length=64)
    reason: str = Field(min_length=1, max_length=1000)
    reference: str = Field(default="", max_length=1000)


class EventView(BaseModel):
    """Something that happened at a camera. `handed_over`: its media server knows of it."""

    id: str
    kind: str
    time: Time
    priority: int | None
    method: int | None
    detail: str
    handed_over: bool


class EventsView(BaseModel):
    """The events of a camera in a range, by time. `complete`: there are no more in it."""

    camera: str
    start: Time = Field(serialization_alias="from")
    end: Time = Field(serialization_alias="to")
    events: list[EventView]
    complete: bool


class GrantRequest(BaseModel):
    """What a media token is wanted for."""

    action: Literal["live", "sub", "playback", "export"]


class GrantView(BaseModel):
    """A media token and the path prefix it is good under. `lifetime` is in seconds from now."""

    url: str
    token: str
    expires: Time
    lifetime: int


class SipTokenView(BaseModel):
    """With what a page registers: its address, the path of the WebSocket, and a token. `lifetime` is in seconds from
    now.
    """

    uri: str
    url: str
    token: str
    expires: Time
    lifetime: int


class VerdictView(BaseModel):
    """What became of a call. `who` is meant, `origin` gave the final answer `status`; `text` says it in English."""

    code: str
    who: str
    origin: str
    status: int
    reason: str
    seconds: int
    text: str
    hint: str


class CallView(BaseModel):
    """A call in a list. `proven`: the caller is who it says. `ended` is null while the call goes on. `times` in a row
    it has failed in the same way.
    """

    id: str
    started: Time
    ended: Time | None
    caller: str
    proven: bool
    callee: str
    state: str
    times: int
    verdict: VerdictView


class ParticipantView(BaseModel):
    """Somebody in a call: an id that was proven, else an address. `server`: the SIP server itself."""

    name: str
    address: str
    proven: bool
    server: bool


class MessageView(BaseModel):
    """One message, `at` ms after the call's start, between two participants (their numbers). `again`: repeats."""

    at: float
    sender: int = Field(serialization_alias="from")
    receiver: int = Field(serialization_alias="to")
    line: str
    cseq: str
    facts: list[str]
    again: int


class LadderView(CallView):
    """A call with all its messages, and those of the calls that belong to it. `left_out` are missing in the middle."""

    participants: list[ParticipantView]
    messages: list[MessageView]
    left_out: int
    calls: list[CallView]


class HealthView(BaseModel):
    """Whether the parts answer."""

    status: Literal["ok"]
    media_workers: int


class ErrorView(BaseModel):
    """Every error of the API."""

    error: str
    message: str
