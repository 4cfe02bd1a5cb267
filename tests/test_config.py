"""Settings: precedence, forms, and one line for each mistake."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.config import (
    NO_SETTINGS,
    GroupRange,
    HostPort,
    Lifetime,
    PortRange,
    Settings,
    SettingsError,
    SipRoute,
    default_media_workers,
)
from soip.lifeline import VARIABLE

PBX = {"name": "pbx", "to": "sip:pbx.example;transport=tls", "domains": ["PBX.example"]}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SOIP_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    settings = Settings.load()
    assert settings.data == tmp_path / "run"
    assert str(settings.http) == "127.0.0.1:8080"
    assert str(settings.sip) == "127.0.0.1:5060"
    assert settings.domain == "soip.local"
    assert str(settings.rtp_ports) == "20000-29999"
    assert settings.media_workers == default_media_workers() >= 1
    assert (settings.file_seconds, settings.sync_seconds, settings.fragment_seconds) == (600, 5, 2)
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/run/soip.db"
    assert settings.media_roots[0] == tmp_path / "run" / "media"
    assert settings.media_server_file == tmp_path / "run" / "media-server.json"


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soip.toml").write_text(
        'domain = "file.example"\nhttp = "127.0.0.1:1"\nsip = "127.0.0.1:2"\nfile_seconds = 9'
    )
    monkeypatch.setenv("SOIP_HTTP", "127.0.0.1:3")
    monkeypatch.setenv("SOIP_SIP", "127.0.0.1:4")
    settings = Settings.load(data=tmp_path, sip="127.0.0.1:5", domain=None)
    assert settings.domain == "file.example"
    assert settings.file_seconds == 9
    assert settings.http.port == 3
    assert settings.sip.port == 5


def test_the_data_directory_comes_from_the_environment_and_then_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "soip.toml").write_text(f'domain = "{name}.example"')
    monkeypatch.setenv("SOIP_DATA", str(tmp_path / "a"))
    assert Settings.load().domain == "a.example"
    settings = Settings.load(data="b")
    assert (settings.domain, settings.data) == ("b.example", tmp_path / "b")


def test_a_home_directory_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "soip.toml").write_text('domain = "home.example"')
    for settings in (Settings.load(data="~/site"), Settings.load(data=Path("~/site"))):
        assert (settings.data, settings.domain) == (tmp_path / "site", "home.example")
    monkeypatch.setenv("SOIP_DATA", "~/site")
    assert Settings.load().domain == "home.example"
    with pytest.raises(SettingsError, match="setting 'data': '~nobody-at-all/x' is no directory"):
        Settings.load(data="~nobody-at-all/x")


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "SOIP_PASSWORD", "SOIP_LOG_FORMAT"):  # These are known.
        monkeypatch.setenv(name, "text")
    assert Settings.load().log_format == "text"
    assert VARIABLE in NO_SETTINGS
    monkeypatch.setenv("SOIP_HTPP", "127.0.0.1:1")
    with pytest.raises(SettingsError, match="there is no setting 'SOIP_HTPP'; settings are http, sip, domain"):
        Settings.load()
    with pytest.raises(SettingsError) as error:
        Settings.load(http="x")
    assert [line.split(";")[0].split(":")[0] for line in str(error.value).splitlines()] == [
        "there is no setting 'SOIP_HTPP'",
        "setting 'http'",
    ]


def test_tls_is_off_until_it_is_given_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load()
    assert settings.sip_tls is None
    folder = tmp_path / "run" / "tls"
    files = (settings.certificate_file, settings.key_file, settings.ca_file)
    assert files == (folder / "server.pem", folder / "server.key", folder / "ca.pem")
    monkeypatch.setenv("SOIP_SIP_TLS", "")
    assert Settings.load().sip_tls is None
    (tmp_path / "soip.toml").write_text(
        'sip_tls = "0.0.0.0:5061"\nsip_peers = ["PBX.example", " b.example"]\ntls_key = "/etc/key.pem"'
    )
    monkeypatch.delenv("SOIP_SIP_TLS")
    settings = Settings.load(data=tmp_path)
    assert settings.sip_tls == HostPort("0.0.0.0", 5061)
    assert settings.sip_peers == ("pbx.example", "b.example")
    assert settings.key_file == Path("/etc/key.pem")
    monkeypatch.setenv("SOIP_SIP_PEERS", "one.example, two.example,")
    assert Settings.load(data=tmp_path).sip_peers == ("one.example", "two.example")


def test_children_get_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soip.toml").write_text('rtp_ports = "30000-30099"\nlog_format = "json"')
    assert "SOIP_SIP_TLS" not in Settings.load(data=tmp_path).environment(), "what is off stays off"
    settings = Settings.load(
        data=tmp_path, sip_tls="[::1]:5061", sip_peers=["A.example", "b.example"], tls_ca="~/ca.pem"
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "soip.toml").write_text('rtp_ports = "40000-40099"\ndomain = "changed.meanwhile"')
    assert Settings.load() == settings


def test_routes_are_read_and_handed_to_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soip.toml").write_text(
        """
        [[sip_routes]]
        name = "pbx"
        to = "sip:pbx.example;transport=tls"
        domains = ["PBX.example"]
        numbers = ["0*", "2xx"]
        username = "site"
        password = 'quote" and \\'
        register = true
        account = "ann"
        peer = "sbc.PBX.example"

        [[sip_routes]]
        name = "other"
        to = "sip:192.0.2.7"
        domains = ["a.example", "b.example"]
        roles = ["viewer", "device"]
        """
    )
    settings = Settings.load(data=tmp_path)
    pbx, other = settings.sip_routes
    assert (pbx.domain, pbx.certified) == ("pbx.example", frozenset({"sbc.pbx.example"}))
    assert (pbx.register_there, pbx.roles, pbx.assert_identity) == (True, ("admin", "operator"), False)
    assert (other.domain, other.certified) == ("a.example", frozenset({"a.example", "b.example"}))
    assert SipRoute(name="x", to="sip:h.example:5070", numbers=("1",)).domain == "h.example"
    assert pbx.password not in repr(settings), "logs and errors tell no secret"
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "soip.toml").unlink()
    assert Settings.load().sip_routes == settings.sip_routes


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"http": "8080"}, "setting 'http': '8080' is not HOST:PORT, for example 127.0.0.1:8080"),
        ({"sip": "host:99999"}, "setting 'sip': 'host:99999' is not HOST:PORT"),
        ({"sip_tls": "5061"}, "setting 'sip_tls': '5061' is not HOST:PORT"),
        ({"sip_peers": [1]}, "setting 'sip_peers': [1] is not a list of names"),
        ({"sip_peers": 7}, "setting 'sip_peers': 7 is not a list of names"),
        ({"rtp_ports": "20000"}, "setting 'rtp_ports': '20000' is not a port range A-B"),
        ({"rtp_ports": "30000-20000"}, "not a port range"),
        ({"rtp_ports": "80-90"}, "within 1024-65535"),
        ({"multicast_ttl": 0}, "setting 'multicast_ttl'"),
        ({"multicast_ttl": 65}, "setting 'multicast_ttl'"),
        ({"multicast_groups": "239.192.10.1/24"}, "'239.192.10.1/24' is no range of multicast groups of a site"),
        ({"multicast_groups": "ff15::/120"}, "multicast_groups: media goes by IPv4 here, as sip says"),
        ({"multicast_groups": "239.192.10.0/24", "sip": "[::1]:5060"}, "media goes by IPv6 here"),
        ({"domain": "a b"}, "setting 'domain': 'a b' is not a domain name"),
        ({"media_workers": 0}, "setting 'media_workers'"),
        ({"fragment_seconds": -1}, "setting 'fragment_seconds'"),
        ({"file_seconds": "nan"}, "setting 'file_seconds'"),
        ({"colour": "red"}, "there is no setting 'colour'; settings are http, sip, domain"),
        ({"sip_routes": 7}, "setting 'sip_routes': routes are written as [[sip_routes]], each with name and to"),
        ({"sip_routes": "[{"}, "setting 'sip_routes': this is not JSON"),
        ({"sip_routes": [{**PBX, "to": "pbx.example"}]}, "setting 'sip_routes.0.to': 'pbx.example' is not a SIP URI"),
        ({"sip_routes": [{**PBX, "to": "sip:me@pbx.example"}]}, "is not a next hop, for example sip:pbx.example"),
        ({"sip_routes": [{**PBX, "to": "sip:a;transport=ws"}]}, "is not a next hop"),
        ({"sip_routes": [{**PBX, "numbers": ["0x*", "ab"]}]}, "'ab' is not a pattern of numbers, for example"),
        ({"sip_routes": [{**PBX, "domains": ["a b"]}]}, "setting 'sip_routes.0.domains.0': 'a b' is not a domain name"),
        ({"sip_routes": [{**PBX, "name": "a b"}]}, "setting 'sip_routes.0.name'"),
        ({"sip_routes": [{**PBX, "roles": ["guest"]}]}, "setting 'sip_routes.0.roles.0'"),
        ({"sip_routes": [{**PBX, "colour": "red"}]}, "setting 'sip_routes.0.colour'"),
        ({"sip_routes": [{"name": "x", "to": "sip:x"}]}, "the route 'x' leads nowhere: give it domains or numbers"),
        ({"sip_routes": [{**PBX, "username": "x"}]}, "the route 'pbx' needs both username and password"),
        ({"sip_routes": [{**PBX, "register": True}]}, "the route 'pbx' cannot register without username"),
        ({"sip_routes": [{**PBX, "target": "bob"}]}, "the route 'pbx' needs register and account for target"),
        ({"sip_routes": [PBX, PBX]}, "sip_routes: two routes have the name 'pbx'"),
        ({"sip_routes": [PBX, {**PBX, "name": "b"}]}, "sip_routes: two routes have the domain 'pbx.example'"),
        ({"sip_routes": [{**PBX, "domains": ["soip.local"]}]}, "sip_routes: 'soip.local' is our own domain"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.load(**given)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("domain = ", "soip.toml cannot be read"),
        ('colour = "red"', "there is no setting 'colour'"),
        ('data = "/x"', "cannot set 'data'"),
        ("domain = 5", "setting 'domain'"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "soip.toml").write_text(content)
    with pytest.raises(SettingsError, match=text):
        Settings.load(data=tmp_path)


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOIP_SIP", "nonsense")
    with pytest.raises(SettingsError) as error:
        Settings.load(http="x", domain="-")
    assert len(str(error.value).splitlines()) == 3


@given(st.sampled_from(["localhost", "127.0.0.1", "0.0.0.0", "::", "::1", "cam-1.example"]), st.integers(0, 65535))
def test_an_address_reads_as_it_writes(host: str, port: int) -> None:
    address = HostPort(host, port)
    assert HostPort.parse(str(address)) == address == HostPort.parse(address)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = HostPort.parse(text)
    except ValueError:
        return
    assert 0 <= address.port <= 65535
    assert address.host


@given(st.integers(1024, 65000), st.integers(1, 5000), st.integers(1, 16))
def test_workers_share_the_ports_without_overlap(low: int, size: int, workers: int) -> None:
    ports = PortRange(low, min(low + size, 65535))
    if (ports.high - ports.low) // 2 < 2 * workers:
        with suppress(ValueError):
            ports.part(0, workers)
        return
    parts = [ports.part(index, workers) for index in range(workers)]
    for part in parts:
        assert ports.low <= part.low < part.high <= ports.high
        assert part.low % 2 == 0
        assert part.high % 2 == 1
    for left, right in pairwise(parts):
        assert left.high < right.low
    assert len({part.high - part.low for part in parts}) == 1


def test_too_few_ports_are_told() -> None:
    with pytest.raises(ValueError, match="20000-20003 are too few for 4 media workers"):
        PortRange(20000, 20003).part(0, 4)


@pytest.mark.parametrize(
    "written",
    [
        *("192.0.2.0/24", "224.0.0.0/24", "224.0.1.0/24", "232.1.0.0/24", "238.255.0.0/16", "240.0.0.0/8"),
        *("239.0.0.0/8", "239.0.0.0/15", "239.255.255.0/24", "239.255.255.250", "239.255.0.0/16", "0.0.0.0/0"),
        *("ff05::/112", "ff02::fb", "ff05::1:3", "ff01::8000:0/112", "ff0e::8000:0/112", "ff1e::/112", "ff11::/112"),
        *("ff15::/111", "ff00::/8", "ff10::/12", "ff35::8000:0/112", "ff75::/112", "fd00::/112", "2001:db8::/112"),
        *("::ffff:239.1.1.0/120", "239.1.1", "239.1.1.0-239.1.1.9", "all", "239.1.1.0/", "/24", "239.1.1.0/24 ", "0"),
    ],
)
def test_groups_that_are_nobodys_to_give_out(written: str) -> None:
    with pytest.raises(ValueError, match="is no range of multicast groups of a site"):
        GroupRange.parse(written)


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("239.192.10.0/24", 256),
        ("239.0.0.0/16", 65536),
        ("239.255.254.0/24", 256),
        ("239.1.2.3", 1),
        ("ff15::a00/120", 256),
        ("ff12::/112", 65536),
        ("ff08::8000:0/112", 65536),
    ],
)
def test_workers_share_the_groups(written: str, count: int) -> None:
    groups = GroupRange.parse(written)
    assert groups is not None
    assert GroupRange.parse(str(groups)) == groups == GroupRange.parse(groups)
    assert len(groups.part(0, 1)) == count
    parts = [groups.part(index, 3) for index in range(3)] if count >= 3 else []
    assert sorted(group for part in parts for group in part) == (sorted(groups.part(0, 1)) if parts else [])
    with pytest.raises(ValueError, match=f"are too few for {count + 1} media workers"):
        groups.part(0, count + 1)


def test_no_groups_unless_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().worker_groups(0) == ()
    monkeypatch.setenv("SOIP_MULTICAST_GROUPS", "")
    assert Settings.load().multicast_groups is None
    monkeypatch.delenv("SOIP_MULTICAST_GROUPS")
    (tmp_path / "soip.toml").write_text('multicast_groups = "239.192.10.0/30"\nmedia_workers = 2\nmulticast_ttl = 4')
    settings = Settings.load(data=tmp_path)
    assert settings.worker_groups(1) == ("239.192.10.1", "239.192.10.3")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load(data=tmp_path) == settings


@given(st.text(max_size=30))
def test_any_text_is_a_range_of_groups_or_refused(text: str) -> None:
    with suppress(ValueError):
        groups = GroupRange.parse(text)
        assert (groups is None) == (not text)


def test_settings_do_not_change() -> None:
    settings = Settings.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.domain = "other"


@pytest.mark.parametrize("text", ["60-3600", "1-1", "3600-86400"])
def test_lifetimes_of_registrations(text: str) -> None:
    assert str(Lifetime.parse(text)) == text
    assert Lifetime.parse(Lifetime.parse(text)) == Lifetime.parse(text)


@pytest.mark.parametrize("text", ["", "60", "0-60", "60-59", "3601-7200", "60-86401", "a-b", "60-3600-7200", 60])
def test_what_is_no_lifetime(text: object) -> None:
    with pytest.raises(ValueError, match="no range of seconds"):
        Lifetime.parse(text)


def test_folders_for_recordings(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, media_dirs=("/disk1", "/disk2"))
    assert settings.media_roots == (Path("/disk1"), Path("/disk2"))
    assert settings.environment()["SOIP_MEDIA_DIRS"] == "/disk1:/disk2"
    assert Settings(data=tmp_path).media_roots == (tmp_path / "media",)
    for wrong in ("/a:/a", ("/a:b",), 7):
        with pytest.raises(ValueError, match=r"folder"):
            Settings(data=tmp_path, media_dirs=wrong)


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("512M", 512 << 20), ("20 G", 20 << 30), ("1K", 1024)])
def test_numbers_of_bytes(tmp_path: Path, text: str, expected: int) -> None:
    settings = Settings(data=tmp_path, min_free=text)
    assert settings.min_free == expected
    assert Settings(data=tmp_path, min_free=settings.environment()["SOIP_MIN_FREE"]).min_free == expected


def test_what_is_no_number_of_bytes(tmp_path: Path) -> None:
    for wrong in ("", "-1", "1.5G", "much"):
        with pytest.raises(ValueError, match="number of bytes"):
            Settings(data=tmp_path, min_free=wrong)
