"""The tables. Migrations bring a database here step by step; a test compares the two.

What runs (bindings, states, recordings, gaps, dialogs, events) holds ids without foreign keys: a recording
outlives its camera, and one bad row must not keep a batch of good ones from being written.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def _refers(name: str, target: str, *, null: bool = False, cascade: bool = False) -> Column[str]:
    return Column(name, Text, ForeignKey(target, ondelete="CASCADE" if cascade else None), nullable=null)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _time(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


LENGTH = text("(end_us - start_us)")
"""How long a recording or a gap is, as an index has it."""

# --- Who and where

organisation = Table("organisation", metadata, _key(), _text("name"), _time("created_us"))

site = Table(
    "site",
    metadata,
    _key(),
    _refers("organisation_id", "organisation.id"),
    _text("name"),
    Column("time_zone", Text, nullable=False, server_default="UTC"),
)

zone = Table("zone", metadata, _key(), _refers("site_id", "site.id"), _text("name"))

# Every id that can be addressed or can register, so that one id never means two things. A device and its
# camera of the same id share the device's row.
identity = Table("identity", metadata, _key(), Column("kind", Text, nullable=False), _time("created_us"))

credential = Table(
    "credential",
    metadata,
    Column("identity_id", Text, ForeignKey("identity.id", ondelete="CASCADE"), primary_key=True),
    _key("algorithm"),
    Column("ha1", Text, nullable=False),
)

# --- People

role = Table("role", metadata, _key("name"))

user = Table(
    "user",
    metadata,
    Column("id", Text, ForeignKey("identity.id", ondelete="CASCADE"), primary_key=True),
    _refers("organisation_id", "organisation.id"),
    _text("display_name"),
    Column("password_hash", Text, nullable=False),
    _time("created_us"),
)

grant = Table(
    "grant",
    metadata,
    Column("user_id", Text, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    # What the role is good for: the organisation, or one site, zone or camera of it.
    _key("scope"),
    _key("scope_id"),
    _refers("role", "role.name"),
)

session = Table(
    "session",
    metadata,
    _key("token_hash"),
    _refers("user_id", "user.id", cascade=True),
    _time("created_us"),
    _time("expires_us"),
    Index(None, "expires_us"),
)

# --- Devices and cameras

plan = Table("plan", metadata, _key("name"), Column("rule", Text, nullable=False))

device = Table(
    "device",
    metadata,
    Column("id", Text, ForeignKey("identity.id", ondelete="CASCADE"), primary_key=True),
    _refers("organisation_id", "organisation.id"),
    _text("name"),
    Column("profile", Text, nullable=False, server_default="sip"),
    _time("created_us"),
)

camera = Table(
    "camera",
    metadata,
    Column("id", Text, ForeignKey("identity.id"), primary_key=True),
    _refers("device_id", "device.id", cascade=True),
    _text("name"),
    _refers("plan", "plan.name"),
    Column("audio", Boolean, nullable=False),
    Column("transport", Text, nullable=False, server_default="udp"),
    _refers("site_id", "site.id"),
    _refers("zone_id", "zone.id", null=True),
    _text("place"),
    Column("latitude", Float),
    Column("longitude", Float),
    _text("purpose"),
    _text("legal_basis"),
    _text("classification"),
    _time("created_us"),
    Column("priority", Integer, nullable=False, server_default="5"),
    Index(None, "device_id"),
)

stream = Table(
    "stream",
    metadata,
    Column("camera_id", Text, ForeignKey("camera.id", ondelete="CASCADE"), primary_key=True),
    _key("name"),
)

camera_state = Table(
    "camera_state",
    metadata,
    _key("camera_id"),
    Column("media", Text, nullable=False),
    _time("since_us"),
    _text("instance_id"),
    _time("updated_us"),
)

# --- Media servers

media_server = Table(
    "media_server",
    metadata,
    Column("id", Text, ForeignKey("identity.id", ondelete="CASCADE"), primary_key=True),
    _refers("organisation_id", "organisation.id"),
    Column("capacity", Integer),
    _time("created_us"),
)

media_instance = Table(
    "media_instance",
    metadata,
    _key(),
    _refers("server_id", "media_server.id", cascade=True),
    Column("worker", Integer, nullable=False),
    _text("sip"),
    _text("http"),
    Column("epoch", Integer, nullable=False),
    _time("started_us"),
    _time("heartbeat_us"),
    Column("beat", BigInteger, nullable=False, server_default="0"),
    Column("lease_s", Float, nullable=False, server_default="15"),
    Column("accepting", Boolean, nullable=False, server_default="1"),
    Column("streams", Integer, nullable=False, server_default="0"),
    Column("viewers", Integer, nullable=False, server_default="0"),
    Column("in_bps", BigInteger, nullable=False, server_default="0"),
    Column("out_bps", BigInteger, nullable=False, server_default="0"),
    Column("disk_free", BigInteger, nullable=False, server_default="0"),
    Column("disk_total", BigInteger, nullable=False, server_default="0"),
    Column("disks", Text, nullable=False, server_default="[]"),
)

# Which instance serves a camera: the one place where that stands. `epoch` is the version of the directory at which it
# was placed there, so that a later placement always has a higher one.
home = Table(
    "home",
    metadata,
    Column("camera_id", Text, ForeignKey("camera.id", ondelete="CASCADE"), primary_key=True),
    _text("instance_id"),
    Column("epoch", BigInteger, nullable=False),
    _time("since_us"),
    _text("previous_id"),
    Index(None, "instance_id"),
)

# --- What runs

binding = Table(
    "binding",
    metadata,
    _key("aor"),
    _key("contact"),
    _text("account_id"),
    _text("flow"),
    _text("call_id"),
    Column("cseq", BigInteger, nullable=False),
    _time("registered_us"),
    _time("expires_us"),
    _text("path"),
    _text("instance_id"),
    Column("reg_id", BigInteger, nullable=False),
    _text("user_agent"),
    _text("target"),
    Column("q", Float, nullable=False),
)

dialog = Table(
    "dialog",
    metadata,
    _key(),
    _text("instance_id"),
    _text("camera_id"),
    _text("call_id"),
    _text("local_uri"),
    _text("local_tag"),
    _text("remote_uri"),
    _text("remote_tag"),
    _text("remote_target"),
    _text("route_set"),
    Column("cseq", BigInteger, nullable=False),
    Column("rtp_port", Integer, nullable=False),
    _time("started_us"),
    Index(None, "instance_id"),
)

# The last calls as the SIP server saw them: a call takes the place of an older one, so the table never grows.
call_trace = Table(
    "call_trace",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    _time("started_us"),
    _time("updated_us"),
    _text("caller"),
    Column("proven", Boolean, nullable=False),
    _text("callee"),
    Column("state", Text, nullable=False),
    Column("times", Integer, nullable=False),
    _text("verdict"),
    _text("ladder"),
    Index(None, "started_us"),
)

# --- The archive

recording = Table(
    "recording",
    metadata,
    _key(),
    _text("camera_id"),
    _text("stream"),
    _text("server_id"),
    _text("instance_id"),
    _text("root"),
    _text("path"),
    _time("start_us"),
    _time("end_us"),
    Column("bytes", BigInteger, nullable=False),
    Column("frames", BigInteger, nullable=False),
    _text("tracks"),
    _text("trigger"),
    Column("sealed", Boolean, nullable=False),
    _text("sha256"),
    Column("damaged", BigInteger, nullable=False, server_default="0"),
    Column("lost", BigInteger, nullable=False, server_default="0"),
    Column("damage", Text, nullable=False, server_default="[]"),
    # Its time is a gap with cause *expired* already, only its file may still be there (`expiry.py`).
    Column("expiring", Boolean, nullable=False, server_default="0"),
    Index(None, "camera_id", "start_us"),
    Index(None, "camera_id", "end_us"),
    Index("ix_recording_camera_id_length", "camera_id", LENGTH),
    Index(None, "instance_id", "sealed"),
    Index(None, "server_id", "root", "end_us"),
)

gap = Table(
    "gap",
    metadata,
    _key(),
    _text("camera_id"),
    _text("stream"),
    _time("start_us"),
    _time("end_us"),
    Column("cause", Text, nullable=False),
    _text("instance_id"),
    _text("detail"),
    Index(None, "camera_id", "start_us"),
    Index(None, "camera_id", "end_us"),
    Index("ix_gap_camera_id_length", "camera_id", LENGTH),
)

event = Table(
    "event",
    metadata,
    _key(),
    _text("camera_id"),
    Column("kind", Text, nullable=False),
    _time("start_us"),
    _time("end_us", null=True),
    _text("source"),
    _text("detail"),
    # The order in which events were taken: times can run backwards, this does not.
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("priority", Integer),
    Column("method", Integer),
    _text("body"),
    _time("handed_us", null=True),
    Index(None, "camera_id", "start_us"),
    Index(None, "position"),
    Index(None, "camera_id", "position"),
    Index(None, "handed_us", "position"),
)

# How far somebody has been told of the events of a camera, or (resource "") of all.
event_position = Table(
    "event_position",
    metadata,
    _key("user_id"),
    _key("resource"),
    Column("position", BigInteger, nullable=False),
    _time("updated_us"),
)

hold = Table(
    "hold",
    metadata,
    _key(),
    _text("camera_id"),
    _time("start_us"),
    _time("end_us"),
    _text("reason"),
    _text("reference"),
    _text("created_by"),
    _time("created_us"),
    _time("released_us", null=True),
    Index(None, "camera_id", "start_us"),
)

# --- The system

setting = Table("setting", metadata, _key("name"), Column("value", Text, nullable=False))

secret = Table(
    "secret",
    metadata,
    _key("name"),
    Column("value", LargeBinary, nullable=False),
    _time("created_us"),
)

# One row, raised by each change of configuration.
version = Table(
    "version",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _time("at_us"),
    _text("actor"),
    Column("action", Text, nullable=False),
    _text("target"),
    _text("detail"),
    Index(None, "at_us"),
)
