"""The settings of every role, and where they come from.

Precedence, strongest first:

1. the command line,
2. environment variables `SOIP_<NAME>` (for example `SOIP_HTTP=0.0.0.0:8080`),
3. `soip.toml` in the data directory (keys as below, without prefix),
4. the defaults below.

The data directory itself comes from the command line or `SOIP_DATA`, since `soip.toml` lies in it. A child
process gets its settings as environment variables, so that all processes of one `soip serve` agree.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from soip.policy.dialplan import is_pattern
from soip.sip.errors import SipParseError
from soip.sip.uri import Uri

PREFIX = "SOIP_"
FILE_NAME = "soip.toml"
NO_SETTINGS = frozenset({"SOIP_PASSWORD", "SOIP_SUPERVISOR"})
"""Environment variables of ours that are no settings: an option of commands, and what `soip.lifeline` reads."""


class SettingsError(Exception):
    """The settings cannot be used; the text says which one, where it came from and what it should look
    like.
    """


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address to listen on: a host name or IP address, and a port (0: the kernel chooses)."""

    host: str
    port: int

    @classmethod
    def parse(cls, value: object) -> HostPort:
        """Reads `host:port` or `[v6]:port`. Raises ValueError."""
        if isinstance(value, HostPort):
            return value
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s/]+)):(\d{1,5})", str(value))
        if match is None or int(match[3]) > 65535:
            raise ValueError(f"{value!r} is not HOST:PORT, for example 127.0.0.1:8080")
        return cls(match[1] or match[2], int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """A range of UDP ports, both ends included."""

    low: int
    high: int

    @classmethod
    def parse(cls, value: object) -> PortRange:
        """Reads `low-high`. Raises ValueError."""
        if isinstance(value, PortRange):
            return value
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", str(value))
        if match is None or not 1024 <= int(match[1]) < int(match[2]) <= 65535:
            raise ValueError(f"{value!r} is not a port range A-B within 1024-65535, for example 20000-29999")
        return cls(int(match[1]), int(match[2]))

    def part(self, index: int, parts: int) -> PortRange:
        """The `index`-th of `parts` even shares; each starts on an even port, as RTP wants it (RFC 3550 §11).

        Raises ValueError when there are fewer than two port pairs for each part.
        """
        first = self.low + self.low % 2
        pairs = (self.high + 1 - first) // 2 // parts
        if pairs < 2:
            raise ValueError(f"the RTP ports {self} are too few for {parts} media workers")
        low = first + 2 * pairs * index
        return PortRange(low, low + 2 * pairs - 1)

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class GroupRange:
    """Multicast groups to send to: a network of those that a site may give out itself."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    @classmethod
    def parse(cls, value: object) -> GroupRange | None:
        """Reads a network like `239.192.10.0/24`, or "" for none. Raises ValueError."""
        if value is None or isinstance(value, GroupRange):
            return value
        if value == "":
            return None
        try:
            network = ipaddress.ip_network(str(value))
            if not _is_local(network) or network.num_addresses > 1 << 16:
                raise ValueError("not a site's")
        except ValueError:
            raise ValueError(
                f"{value!r} is no range of multicast groups of a site, for example 239.192.10.0/24 or ff15::a00/120:"
                " within 239.0.0.0/8 but not 239.255.255.0/24, or of scopes 2 to 8 in IPv6, and at most 65536"
            ) from None
        return cls(network)

    def part(self, index: int, parts: int) -> tuple[str, ...]:
        """The `index`-th of `parts` shares. Raises ValueError when there are fewer groups than parts."""
        if self.network.num_addresses < parts:
            raise ValueError(f"the multicast groups {self} are too few for {parts} media workers")
        return tuple([str(self.network[at]) for at in range(index, self.network.num_addresses, parts)])

    def __str__(self) -> str:
        return str(self.network)


def _is_local(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether groups are for a site to give out. The last 256 of the IPv4 scope are for protocols (RFC 2365 §9), SSDP
    for one; of IPv6 the permanent ones with small numbers (RFC 3307 §4), mDNS for one. No scope is wider than an
    organisation's (RFC 7346 §2).
    """
    if isinstance(network, ipaddress.IPv4Network):
        return network.subnet_of(_SITE_GROUPS) and not network.overlaps(_PROTOCOL_GROUPS)
    first = network[0].packed
    flags, scope = divmod(first[1], 16)
    return (
        network.is_multicast
        and network.prefixlen > 16
        and 2 <= scope <= 8
        and (flags == 1 or (flags == 0 and first[12] >= 0x80))
    )


_SITE_GROUPS, _PROTOCOL_GROUPS = ipaddress.IPv4Network("239.0.0.0/8"), ipaddress.IPv4Network("239.255.255.0/24")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a registration lasts, in seconds: less than `low` is refused, more than `high` is given as that."""

    low: int
    high: int

    @classmethod
    def parse(cls, value: object) -> Lifetime:
        """Reads `low-high`. Raises ValueError."""
        if isinstance(value, Lifetime):
            return value
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", str(value))
        # RFC 3261 §10.3 step 7: nobody who asks for an hour or more may be told that it is too brief.
        if match is None or not 1 <= int(match[1]) <= min(int(match[2]), 3600) or int(match[2]) > 86_400:
            raise ValueError(f"{value!r} is no range of seconds A-B with A at most 3600, for example 60-3600")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


def default_media_workers() -> int:
    """One media worker per core but one, and at least one."""
    return max(1, (os.cpu_count() or 1) - 1)


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def _bytes(value: object) -> int:
    """A number of bytes: 1073741824, "1024M" or "1G". Raises ValueError."""
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)", str(value))
    if match is None:
        raise ValueError(f'{value!r} is no number of bytes, for example "512M" or "20G"')
    return int(match[1]) << _UNITS[match[2]]


def _folders(value: object) -> tuple[Path, ...]:
    """Folders: as TOML writes lists, or with colons in an environment variable, like PATH. Raises ValueError."""
    parts = value.split(":") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str | Path) for part in parts):
        raise ValueError(f'{value!r} is not a list of folders, for example ["/disk1/soip", "/disk2/soip"]')
    folders = tuple(_place(part) for part in parts if part)
    if len(set(folders)) < len(folders) or any(":" in str(folder) for folder in folders):
        raise ValueError("each folder is named once, and without a colon")
    return folders


def _optional_address(value: object) -> HostPort | None:
    return None if value in (None, "") else HostPort.parse(value)


def _names(value: object) -> tuple[str, ...]:
    """A list of names: as TOML writes lists, or with commas in an environment variable. Raises ValueError."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f'{value!r} is not a list of names, for example ["a.example", "b.example"]')
    return tuple(part.strip().lower() for part in parts if part.strip())


def _domain(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise ValueError(f"{value!r} is not a domain name, for example soip.local")
    return value.lower()


_Domain = Annotated[str, AfterValidator(_domain)]
_Address = Annotated[HostPort, NoDecode, BeforeValidator(HostPort.parse), PlainSerializer(str)]
_OptionalAddress = Annotated[HostPort | None, NoDecode, BeforeValidator(_optional_address)]
_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
_Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_folders)]
_Bytes = Annotated[int, NoDecode, BeforeValidator(_bytes)]
_Lifetime = Annotated[Lifetime, NoDecode, BeforeValidator(Lifetime.parse), PlainSerializer(str)]
_Groups = Annotated[GroupRange | None, NoDecode, BeforeValidator(GroupRange.parse)]
_Ports = Annotated[PortRange, NoDecode, BeforeValidator(PortRange.parse), PlainSerializer(str)]


class SipRoute(BaseModel):
    """A way to another SIP server: a PBX, or that of another domain. [docs/configuration.md] tells of each field.

    `name` names it, `to` is the next hop. Requests go there for addresses of `domains`, and for `numbers` that nobody
    here has, if who asks has one of `roles`. `username` and `password` answer its challenges (of `realm`, if that is
    given); with `register` we are
    registered there under that name. Its own callers are let in as the user `account`; `peer` is the name its
    certificate must bear, and `target` whom calls to our registration reach.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")
    to: str
    domains: tuple[_Domain, ...] = ()
    numbers: tuple[str, ...] = ()
    roles: tuple[Literal["admin", "operator", "viewer", "device"], ...] = ("admin", "operator")
    username: str = ""
    password: str = Field(default="", repr=False)
    realm: str = ""
    register_there: bool = Field(default=False, alias="register")
    account: str = ""
    peer: str = ""
    target: str = ""
    assert_identity: bool = False

    @field_validator("to")
    @classmethod
    def _next_hop(cls, value: str) -> str:
        try:
            uri = Uri.parse(value)
        except SipParseError as error:
            raise ValueError(f"{value!r} is not a SIP URI: {error.what}") from error
        transport = uri.param("transport") or "udp"
        if not uri.is_sip or uri.user or uri.headers or transport.lower() not in ("udp", "tcp", "tls"):
            raise ValueError(f"{value!r} is not a next hop, for example sip:pbx.example;transport=tls")
        return value

    @field_validator("numbers")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not is_pattern(pattern):
                raise ValueError(f'{pattern!r} is not a pattern of numbers, for example "0*" or "2xx"')
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for lacking, what in (
            (not self.domains and not self.numbers and not self.account, "leads nowhere: give it domains or numbers"),
            (bool(self.username) != bool(self.password), "needs both username and password, or neither"),
            (self.register_there and not self.username, "cannot register without username and password"),
            (bool(self.target) and not (self.register_there and self.account), "needs register and account for target"),
        ):
            if lacking:
                raise ValueError(f"the route {self.name!r} {what}")
        return self

    @property
    def domain(self) -> str:
        """What the other side calls itself."""
        return self.domains[0] if self.domains else Uri.parse(self.to).host

    @property
    def certified(self) -> frozenset[str]:
        """The names of certificates whose holder is the other side."""
        return frozenset((self.peer.lower(),) if self.peer else self.domains)


def _routes(value: object) -> object:
    """A list of routes; in an environment variable as JSON. Raises ValueError."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except ValueError as error:
            raise ValueError(f"this is not JSON: {error}") from error
    if not isinstance(value, list | tuple):
        raise ValueError("routes are written as [[sip_routes]], each with name and to")
    return value


class Settings(BaseSettings):
    """What `soip serve` and each role need to know. Load it with `Settings.load`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, arbitrary_types_allowed=True
    )

    data: Path = Path("run")
    http: _Address = HostPort("127.0.0.1", 8080)
    sip: _Address = HostPort("127.0.0.1", 5060)
    domain: str = "soip.local"
    directory: Path | None = None
    sip_tls: _OptionalAddress = None
    sip_peers: _Names = ()
    sip_routes: Annotated[tuple[SipRoute, ...], NoDecode, BeforeValidator(_routes)] = ()
    sip_ws: _Address = HostPort("127.0.0.1", 0)
    sip_ws_origins: _Names = ()
    sip_expires_camera: _Lifetime = Lifetime(60, 3600)
    sip_expires_phone: _Lifetime = Lifetime(60, 3600)
    sip_expires_media: _Lifetime = Lifetime(60, 3600)
    sip_expires_browser: _Lifetime = Lifetime(60, 600)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    rtp_ports: _Ports = PortRange(20000, 29999)
    srtp: Literal["off", "optional", "required"] = "optional"
    multicast_groups: _Groups = None
    multicast_ttl: int = Field(default=1, ge=1, le=64)
    media_workers: int = Field(default_factory=default_media_workers, ge=1, le=256)
    failover_seconds: float = Field(default=30, ge=2, le=3600)
    media_dirs: _Folders = ()
    retention_days: float = Field(default=0, ge=0, le=36500)
    event_days: float = Field(default=90, ge=7, le=36500)
    min_free: _Bytes = 1 << 30
    file_seconds: float = Field(default=600, gt=0, le=86400)
    sync_seconds: float = Field(default=5, gt=0, le=3600)
    fragment_seconds: float = Field(default=2, gt=0, le=60)
    metrics_token: str | None = Field(default=None, repr=False, pattern=r"^[!-~]{16,256}$")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"

    @field_validator("data")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return _place(value)

    @field_validator("directory", "tls_certificate", "tls_key", "tls_ca")
    @classmethod
    def _given_absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("domain")
    @classmethod
    def _host_name(cls, value: str) -> str:
        return _domain(value)

    @model_validator(mode="after")
    def _routes_apart(self) -> Self:
        names = Counter(route.name for route in self.sip_routes)
        domains = Counter(domain for route in self.sip_routes for domain in route.domains)
        for what, often in (("name", names), ("domain", domains)):
            if twice := [each for each, count in often.items() if count > 1]:
                raise ValueError(f"sip_routes: two routes have the {what} {twice[0]!r}")
        if self.domain in domains:
            raise ValueError(f"sip_routes: {self.domain!r} is our own domain, no route leads there")
        return self

    @model_validator(mode="after")
    def _groups_of_our_kind(self) -> Self:
        groups = self.multicast_groups
        if groups is not None and re.fullmatch(r"[0-9.]+|.*:.*", self.sip.host):
            of_six = ":" in self.sip.host
            if of_six != (groups.network.version == 6):
                raise ValueError(f"multicast_groups: media goes by {'IPv6' if of_six else 'IPv4'} here, as sip says")
        return self

    @property
    def database_url(self) -> str:
        """The directory's database, as SQLAlchemy writes addresses."""
        return f"sqlite+aiosqlite:///{self.directory or self.data / 'soip.db'}"

    @property
    def media_roots(self) -> tuple[Path, ...]:
        """The folders of the recordings, each on a disk of its own."""
        return self.media_dirs or (self.data / "media",)

    @property
    def media_server_file(self) -> Path:
        """Id and SIP secret of this machine's media server."""
        return self.data / "media-server.json"

    @property
    def metrics_token_file(self) -> Path:
        """The token that opens the figures, where the settings give none."""
        return self.data / "metrics-token"

    @property
    def tls_folder(self) -> Path:
        """Where `soip tls` keeps the CA and what it has certified."""
        return self.data / "tls"

    @property
    def certificate_file(self) -> Path:
        """The certificate of SIP over TLS."""
        return self.tls_certificate or self.tls_folder / "server.pem"

    @property
    def key_file(self) -> Path:
        """Its key."""
        return self.tls_key or self.tls_folder / "server.key"

    @property
    def ca_file(self) -> Path:
        """The CA that certifies us and our peers."""
        return self.tls_ca or self.tls_folder / "ca.pem"

    def worker_ports(self, worker: int) -> PortRange:
        """The share of the RTP ports that belongs to a media worker. Raises ValueError when it is too
        small.
        """
        return self.rtp_ports.part(worker, self.media_workers)

    def worker_groups(self, worker: int) -> tuple[str, ...]:
        """The multicast groups that belong to a media worker, none where there is no multicast. Raises ValueError when
        there are too few.
        """
        return self.multicast_groups.part(worker, self.media_workers) if self.multicast_groups else ()

    def environment(self) -> dict[str, str]:
        """All settings as `SOIP_*` variables, for a child process."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {f"{PREFIX}{name.upper()}": _text(value) for name, value in values.items() if value is not None}

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Settings by the precedence above; an override that is None counts as not given.

        Raises SettingsError with one line per wrong setting.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        wrong = [_unknown(name) for name in sorted(os.environ) if name.startswith(PREFIX) and not _known(name)]
        try:
            data = _place(given.get("data") or os.environ.get(f"{PREFIX}DATA") or cls.model_fields["data"].default)
            settings = cls(_file=_read(data / FILE_NAME), **given)
        except ValidationError as error:
            raise SettingsError("\n".join([*wrong, *_explain(error)])) from error
        except ValueError as error:
            raise SettingsError("\n".join([*wrong, f"setting 'data': {error}"])) from error
        if wrong:
            raise SettingsError("\n".join(wrong))
        return settings

    def __init__(self, _file: Mapping[str, object] | None = None, **given: Any) -> None:
        # Only environment variables lose against these: pydantic-settings puts what is given here first. What
        # stands in the file therefore is taken only where neither the caller nor the environment says
        # something.
        below = {
            name: value
            for name, value in (_file or {}).items()
            if name not in given and f"{PREFIX}{name.upper()}" not in os.environ
        }
        super().__init__(**{**below, **given})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)


def _text(value: object) -> str:
    """A setting as an environment variable says it."""
    if not isinstance(value, tuple):
        return str(value)
    if any(isinstance(each, SipRoute) for each in value):
        return json.dumps([each.model_dump(by_alias=True) for each in value])
    if any(isinstance(each, Path) for each in value):
        return ":".join(map(str, value))
    return ",".join(value)


def _place(data: str | Path) -> Path:
    """The data directory as an absolute path. Raises ValueError for the home of nobody."""
    try:
        return Path(data).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{str(data)!r} is no directory: {error}") from error


def _known(variable: str) -> bool:
    return variable in NO_SETTINGS or variable.removeprefix(PREFIX).lower() in Settings.model_fields


def _unknown(name: str) -> str:
    known = ", ".join(field for field in Settings.model_fields if field != "data")
    return f"there is no setting {name!r}; settings are {known}"


def _read(file: Path) -> dict[str, object]:
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    if "data" in content:
        raise SettingsError(f"{file} lies in the data directory and cannot set 'data'; remove that line")
    return content


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            lines.append(_unknown(name))
        elif not name:
            lines.append(problem["msg"].removeprefix("Value error, "))
        else:
            lines.append(f"setting {name!r}: {problem['msg'].removeprefix('Value error, ')}")
    return lines
