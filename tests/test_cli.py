"""The command line: what each command prints, what it leaves, and one line for each mistake."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip import cli
from soip.agents.camera import SimulateOptions
from soip.commands import demo
from soip.commands.terminal import format_time, parse_time
from soip.config import HostPort, Settings
from soip.directory.accounts import ha1
from soip.directory.directory import Directory
from soip.directory.rows import BindingRow, CameraStateRow, GapRow, MediaInstance, RecordingRow
from soip.directory.settings import SIP_ROUTES
from soip.mp4.tracks import video_track
from soip.net.certificates import names_of
from soip.process import holding
from soip.store.disk import DiskWriter
from soip.store.journal import Entry
from soip.store.recording import Recording
from soip.store.root import Root
from soip.store.writer import RecordingWriter
from tests.homes import place_all
from tests.mp4.material import Frame, run_of

T = TypeVar("T")

# Half past a second, so that a wrong unit or rounding shows.
START_US = 1_795_176_230_500_000
SPS = bytes.fromhex("6742c01ed900a02ff961000003000100000300320f162e48")
PPS = bytes.fromhex("68cb83cb20")


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Soip = Callable[..., Result]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SOIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def soip(capsys: pytest.CaptureFixture[str], data: Path) -> Soip:
    """Runs a command in this process, on the test's data directory."""

    def run(*arguments: str, in_data: bool = True) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([*arguments, *(["--data", str(data)] if in_data else [])])
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Result(end.value.code, captured.out, captured.err)

    return run


def in_directory(data: Path, work: Callable[[Directory], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await Directory.open(Settings.load(data=data).database_url) as directory:
            return await work(directory)

    return asyncio.run(main())


def failed(result: Result, code: int, *texts: str) -> None:
    """It ended with this code and one line on standard error that has these texts."""
    assert result.code == code, result
    assert result.out == ""
    assert result.err.startswith("soip: ")
    assert result.err.count("\n") == 1, result.err
    for text in texts:
        assert text in result.err


# --- cameras and users


def test_a_camera_is_added_and_listed(soip: Soip, data: Path) -> None:
    result = soip("camera", "add", "cam1", "--password", "p", "--name", "Gate")
    assert (result.code, result.err) == (0, "")
    assert "cam1 added" in result.out
    assert "sip:cam1@soip.local" in result.out
    assert soip("camera", "list", "--json").json == [
        {
            "id": "cam1",
            "name": "Gate",
            "device": "cam1",
            "record": "always",
            "audio": False,
            "transport": "udp",
            "sub": False,
            "signalling": "offline",
            "media": "offline",
            "since": None,
            "instance": None,
        }
    ]
    table = soip("camera", "list").out
    assert "cam1" in table
    assert "Gate" in table
    assert stat.S_IMODE((data / "soip.db").stat().st_mode) == 0o600


def test_all_that_can_be_said_of_a_camera(soip: Soip, data: Path) -> None:
    options = ("--record", "never", "--audio", "--digest", "SHA-256")
    assert soip("camera", "add", "cam1", "--password", "p", *options).code == 0
    (camera,) = soip("camera", "list", "--json").json
    assert (camera["record"], camera["audio"], camera["name"]) == ("never", True, "cam1")
    account = in_directory(data, lambda directory: directory.accounts.get("cam1"))
    assert account is not None
    assert account.ha1 == {"SHA-256": ha1("cam1", "soip.local", "p", "SHA-256")}


def test_the_realm_is_the_domain_of_the_first_command(soip: Soip, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOIP_DOMAIN", "site.example")
    soip("camera", "add", "cam1", "--password", "p")
    monkeypatch.setenv("SOIP_DOMAIN", "other.example")
    soip("camera", "add", "cam2", "--password", "p")
    account = in_directory(data, lambda directory: directory.accounts.get("cam2"))
    assert account is not None
    assert account.ha1 == {"MD5": ha1("cam2", "site.example", "p", "MD5")}


def test_the_list_shows_who_is_online_and_recorded(soip: Soip, data: Path) -> None:
    for camera in ("cam1", "cam2"):
        soip("camera", "add", camera, "--password", "p")

    async def run(directory: Directory) -> MediaInstance:
        server = await directory.media.create_or_load(data / "media-server.json", "soip.local")
        worker = await directory.media.publish(server.id, 0, sip="", http="127.0.0.1:1")
        await place_all(directory, worker)
        await directory.save(
            BindingRow("cam1", "sip:a", "cam1", "f", "c", 1, 0, 1 << 60),
            BindingRow("cam2", "sip:a", "cam2", "f", "c", 1, 0, 1),
            CameraStateRow("cam1", "recording", START_US, worker.id, START_US),
        )
        return worker

    worker = in_directory(data, run)
    one, two = soip("camera", "list", "--json").json
    assert (one["signalling"], one["media"], one["since"]) == ("online", "recording", "2026-11-20T12:03:50.500Z")
    assert one["instance"] == worker.id
    assert (two["signalling"], two["media"]) == ("offline", "offline")
    # A server that has stopped records nothing, whatever it said last.
    in_directory(data, lambda directory: directory.save(replace(worker, heartbeat_us=START_US)))
    one, _ = soip("camera", "list", "--json").json
    assert (one["media"], one["since"], one["instance"]) == ("idle", None, None)
    assert "recording" not in soip("camera", "list").out


def test_media_workers_are_listed_and_cameras_moved_by_hand(soip: Soip, data: Path) -> None:
    assert "soip serve" in soip("media", "list").out
    soip("camera", "add", "cam1", "--password", "p")

    async def run(directory: Directory) -> list[str]:
        server = await directory.media.create_or_load(data / "media-server.json", "soip.local")
        workers = [await directory.media.publish(server.id, number, sip="", http="x:1") for number in range(2)]
        await place_all(directory, replace(workers[0], disk_free=5_000_000_000, in_bps=2_500_000))
        return [worker.id for worker in workers]

    one, two = in_directory(data, run)
    listed = soip("media", "list", "--json").json
    assert [(each["id"], each["state"], each["cameras"]) for each in listed] == [(one, "ready", 1), (two, "ready", 0)]
    assert "2.5 Mbit/s" in soip("media", "list").out
    assert two in soip("media", "move", "cam1", two).out
    assert [each["cameras"] for each in soip("media", "list", "--json").json] == [0, 1]
    failed(soip("media", "move", "cam1", "nobody"), 1, "there is no media worker 'nobody'")
    failed(soip("media", "move", "cam9", two), 1, "there is no camera 'cam9'")


def test_an_empty_list_says_what_to_do(soip: Soip) -> None:
    assert "soip camera add" in soip("camera", "list").out
    assert soip("camera", "list", "--json").json == []


def test_the_password_may_come_from_the_environment(soip: Soip, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOIP_PASSWORD", "secret")
    assert soip("camera", "add", "cam1").code == 0
    account = in_directory(data, lambda directory: directory.accounts.get("cam1"))
    assert account is not None
    assert account.ha1 == {"MD5": ha1("cam1", "soip.local", "secret", "MD5")}


def test_a_user_is_added_and_the_sip_password_shown_once(soip: Soip, data: Path) -> None:
    result = soip("user", "add", "bob", "--password", "p", "--role", "operator")
    assert result.code == 0
    shown = result.out.split("shown only this once: ")[1].strip()
    account = in_directory(data, lambda directory: directory.accounts.get("bob"))
    assert account is not None
    assert account.role == "operator"
    assert account.ha1 == {"MD5": ha1("bob", "soip.local", shown, "MD5")}
    assert len(shown) >= 20
    result = soip("user", "add", "eve", "--password", "p", "--role", "viewer", "--sip-password", "mine")
    assert "mine" not in result.out
    assert "once" not in result.out
    assert in_directory(data, lambda directory: directory.users.verify("eve", "p")) is not None


def test_what_commands_change_is_in_the_audit_log(soip: Soip, data: Path) -> None:
    soip("camera", "add", "cam1", "--password", "p")
    soip("user", "add", "bob", "--password", "p", "--role", "viewer")
    soip("camera", "add", "cam1", "--password", "p")
    rows = in_directory(data, lambda directory: directory.settings.audited())
    assert [(row.action, row.target) for row in rows] == [("user.add", "bob"), ("camera.add", "cam1")]


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("camera", "add"), 2, "Missing argument 'ID'"),
        (("camera", "add", "cam1"), 2, "Missing option '--password'"),
        (("camera", "add", "..", "--password", "p"), 2, "cannot be an id"),
        (("camera", "add", "cam1", "--password", ""), 2, "password is empty"),
        (("camera", "add", "cam1", "--password", "p", "--record", "x"), 2, "'always', 'never'"),
        (("camera", "add", "cam1", "--password", "p", "--digest", "SHA-1"), 2, "'MD5', 'SHA-256'"),
        (("camera", "add", "taken", "--password", "p"), 1, "'taken' is taken already, by a device"),
        (("user", "add", "taken", "--password", "p", "--role", "viewer"), 1, "'taken' is taken already"),
        (("user", "add", "bob", "--password", "p"), 2, "Missing option '--role'"),
        (("user", "add", "bob", "--password", "p", "--role", "king"), 2, "'admin', 'operator', 'viewer'"),
        (("recordings", "nobody"), 1, "there is no camera 'nobody'"),
        (("export", "nobody", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:01:00Z", "--output", "x.mp4"), 1,
         "there is no camera 'nobody'"),
        (("export", "taken", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:01:00Z", "--output", "x.mp4"), 1,
         "nothing is recorded from"),
        (("export", "taken", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z", "--output", "x.mp4"), 2,
         "--to must be later than --from"),
        (("export", "taken", "--from", "yesterday", "--to", "2026-01-01T00:00:00Z", "--output", "x.mp4"), 2,
         "'yesterday' is not a time like 2026-11-20T10:00:00Z"),
        (("store", "check"), 1, "nothing was recorded in"),
        (("store", "rebuild"), 1, "nothing was recorded in"),
        (("serve", "--http", "8080"), 2, "setting 'http': '8080' is not HOST:PORT"),
        (("serve", "--media-workers", "0"), 2, "media_workers"),
        (("serve", "--media", "/a", "--media", "/a"), 2, "each folder is named once"),
        (("hold", "add", "nobody", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:01:00Z", "--reason", "x"),
         1, "there is no camera 'nobody'"),
        (("hold", "add", "taken", "--from", "2026-01-01T00:01:00Z", "--to", "2026-01-01T00:00:00Z", "--reason", "x"),
         2, "--to must be later than --from"),
        (("hold", "remove", "nothing"), 1, "there is no hold 'nothing'"),
        (("camera", "priority", "nobody", "3"), 1, "there is no camera 'nobody'"),
        (("camera", "sub", "nobody"), 1, "there is no camera 'nobody'"),
        (("media", "--worker", "9", "--media-workers", "2"), 2, "there is no worker 9"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(soip: Soip, arguments: tuple[str, ...], code: int, text: str) -> None:
    assert soip("camera", "add", "taken", "--password", "p").code == 0
    failed(soip(*arguments), code, text)


@pytest.mark.parametrize(
    "command",
    [
        ("export", "cam1", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:01:00Z"),
        ("play", "sip:cam1@soip.local", "--user", "u", "--password", "p", "--server", "127.0.0.1:9"),
    ],
    ids=["export", "play"],
)
@pytest.mark.parametrize(
    ("output", "text"),
    [
        (".", ". is a folder: name a file in it with --output"),
        ("/", "/ is a folder"),
        ("no/such.mp4", "there is no folder no: make it, or give another --output"),
    ],
)
def test_a_film_that_cannot_be_written_is_told_first(
    soip: Soip, command: tuple[str, ...], output: str, text: str
) -> None:
    failed(soip(*command, "--output", output, in_data=command[0] == "export"), 2, text)


_PLAY = ("play", "sip:a@b", "--user", "u", "--password", "p", "--server", "x:1", "--output", "x.mp4")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("camera", "nonsense"), "No such command"),
        (("simulate", "--id", "a", "--password", "p", "--server", "x:", "--domain", "d"), "'x:' is not HOST:PORT"),
        (("simulate", "--id", "a", "--password", "p", "--server", "x:1", "--domain", "d", "--count", "0"), "--count"),
        (("play", "sip:a@b", "--user", "u", "--transport", "sctp"), "'sctp' is not one of 'udp', 'tcp', 'tls'"),
        (("simulate", "--id", "a", "--password", "p", "--server", "b:1", "--domain", "b", "--srtp"), "--transport tls"),
        (("play", "sip:a@b", "--user", "u", "--password", "p", "--server", "x:1"), "Missing option '--output'"),
        ((*_PLAY, "--rtp", "multicast", "--transport", "tls", "--srtp"), "what goes to a group is not encrypted"),
    ],
)
def test_a_mistake_without_data_is_one_line(soip: Soip, arguments: tuple[str, ...], text: str) -> None:
    failed(soip(*arguments, in_data=False), 2, text)


def test_a_data_directory_that_cannot_be(soip: Soip, data: Path) -> None:
    data.write_text("a file")
    failed(soip("camera", "list"), 2, "soip.toml cannot be read")


def test_a_damaged_directory(soip: Soip, data: Path) -> None:
    data.mkdir()
    (data / "soip.db").write_bytes(b"nonsense" * 1000)
    failed(soip("camera", "list"), 1, "soip.db")


def test_a_wrong_settings_file(soip: Soip, data: Path) -> None:
    data.mkdir()
    (data / "soip.toml").write_text('colour = "red"')
    failed(soip("camera", "list"), 2, "there is no setting 'colour'")


def test_a_ca_and_a_certificate_are_made_and_renewed(soip: Soip, data: Path) -> None:
    made = soip("tls", "init", "--name", "sip.example", "--sip", "192.0.2.1:5060", "--sip-tls", "0.0.0.0:5061")
    assert made.code == 0
    assert f"for sip.example, soip.local, {socket.gethostname().lower()}, 192.0.2.1\n" in made.out
    assert f"CA {data}/tls/ca.pem: give this file to phones and cameras" in made.out
    assert names_of(data / "tls" / "server.pem")[0] == "sip.example"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (data / "tls").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o644, "server.key": 0o600}
    before = {name: (data / "tls" / name).read_bytes() for name in modes}
    again = soip("tls", "init")
    assert again.code == 1
    assert "server.pem is there already: --renew replaces the certificate and keeps the CA" in again.err
    renewed = soip("tls", "init", "--renew")
    assert renewed.code == 0
    assert "a running server takes it over by itself" in renewed.out
    after = {name: (data / "tls" / name).read_bytes() for name in modes}
    assert [name for name in modes if before[name] == after[name]] == [name for name in modes if "ca" in name]
    assert names_of(data / "tls" / "server.pem")[0] == "sip.example", "the names stay"
    assert soip("tls", "init", "--renew", "--name", "other.example").code == 0
    assert names_of(data / "tls" / "server.pem")[0] == "other.example"


def test_a_certificate_for_a_peer(soip: Soip, data: Path) -> None:
    early = soip("tls", "client", "pbx.example")
    assert (early.code, early.err) == (1, f"soip: there is no CA {data}/tls/ca.pem yet: 'soip tls init' makes one\n")
    assert soip("tls", "init").code == 0
    made = soip("tls", "client", "PBX.example")
    assert made.code == 0
    assert 'sip_peers = ["pbx.example"]' in made.out
    files = [data / "tls" / "clients" / f"pbx.example.{kind}" for kind in ("pem", "key")]
    assert names_of(files[0]) == ["pbx.example"]
    assert stat.S_IMODE(files[1].stat().st_mode) == 0o600
    assert soip("tls", "client", "pbx.example").code == 1
    assert soip("tls", "client", "pbx.example", "--renew").code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("init", "--name", "a b"), "'a b' is neither a host name nor an IP address"),
        (("client", "../x"), "'../x' is neither a host name"),
        (("client", "192.0.2.1"), "192.0.2.1 is an address: peers are known by names"),
    ],
)
def test_a_name_that_is_none_makes_nothing(soip: Soip, data: Path, arguments: tuple[str, ...], text: str) -> None:
    if arguments[0] == "client":
        assert soip("tls", "init").code == 0
    before = sorted(data.rglob("*"))
    result = soip("tls", *arguments)
    assert result.code in (1, 2)
    assert text in result.err
    assert sorted(data.rglob("*")) == before


def test_routes_are_listed_with_what_is_known_of_them(soip: Soip, data: Path) -> None:
    assert "no routes" in soip("route", "list").out
    (data / "soip.toml").write_text(
        '[[sip_routes]]\nname = "pbx"\nto = "sip:pbx.example"\ndomains = ["pbx.example"]\nnumbers = ["0*"]\n'
        '[[sip_routes]]\nname = "new"\nto = "sip:192.0.2.7"\nnumbers = ["112"]\n'
    )

    async def publish(directory: Directory) -> None:
        states = {"pbx": ["down", "no connection", START_US], "gone": ["up", "", START_US]}
        await directory.settings.publish(SIP_ROUTES, json.dumps(states))

    in_directory(data, publish)
    pbx, new = soip("route", "list", "--json").json
    since = format_time(START_US)[:19] + "Z"
    assert pbx == {
        "name": "pbx",
        "leads_to": "pbx.example, 0*",
        "to": "sip:pbx.example",
        "state": "down",
        "since": since,
        "why": "no connection",
    }
    assert (new["state"], new["since"]) == ("unknown", "")
    shown = soip("route", "list").out
    assert all(word in shown for word in ("pbx", "0*", "down", "no connection", since, "112", "unknown"))


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_second_server_on_the_same_data_is_refused(soip: Soip, data: Path, command: str) -> None:
    with holding(data / "serve.lock", "free"):
        failed(soip(command), 1, f"a server runs on {data} already", "--data DIR")
    assert not (data / "soip.db").exists()


def test_a_second_media_worker_of_the_same_number_is_refused(soip: Soip, data: Path) -> None:
    with holding(data / "media-0.lock", "free"):
        failed(soip("media", "--worker", "0"), 1, f"media worker 0 of {data} runs already")


@pytest.mark.parametrize(
    ("options", "program"), [((), False), (("--container", "rtp"), False), (("--container", "ps"), True)]
)
def test_a_software_camera_sends_a_program_stream_if_told(
    soip: Soip, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], program: bool
) -> None:
    seen: list[SimulateOptions] = []

    async def simulate(given: SimulateOptions) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr("soip.agents.camera.simulate", simulate)
    monkeypatch.setattr("soip.logs.configure", lambda _settings, _role: None)  # it would outlive this test
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        who = ("--id", "a", "--password", "p", "--server", "x:1", "--domain", "d")
        assert soip("simulate", *who, *options, in_data=False).code == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, soft)
    assert [one.program for one in seen] == [program]


def test_a_program_stream_with_opus_is_refused(soip: Soip) -> None:
    who = ("--id", "a", "--password", "p", "--server", "x:1", "--domain", "d")
    failed(soip("simulate", *who, "--container", "ps", "--audio", "opus", in_data=False), 2, "no Opus")


def test_many_software_cameras_may_open_many_files(soip: Soip, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen: list[int] = []

    async def simulate(_options: object) -> int:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        return 0

    monkeypatch.setattr("soip.agents.camera.simulate", simulate)
    monkeypatch.setattr("soip.logs.configure", lambda _settings, _role: None)  # it would outlive this test
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        options = ("--id", "a", "--password", "p", "--server", "x:1", "--domain", "d")
        assert soip("simulate", *options, in_data=False).code == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == [min(hard, 65_536)]


def test_help_is_quick_and_names_every_command() -> None:
    """The product's libraries are not loaded for it."""
    code = "import sys\nfrom soip.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("serve", "camera", "user", "recordings", "export", "simulate", "play", "store", "demo", "sip"):
        assert f" {command} " in run.stdout
    loaded = set(run.stdout.splitlines()[-1].split())
    assert not loaded & {"sqlalchemy", "av", "fastapi", "uvloop", "pydantic", "alembic", "argon2"}


def test_the_version(soip: Soip) -> None:
    result = soip("--version", in_data=False)
    assert (result.code, result.out.split()[0]) == (0, "soip")


# --- times


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_time_reads_as_it_writes(us: int) -> None:
    assert parse_time(format_time(us)) == us


@pytest.mark.parametrize(
    "value",
    ["2026-11-20T12:03:50.5Z", "2026-11-20T21:03:50.500+09:00", "2026-11-20 12:03:50.500000Z", "20261120T120350.5Z"],
)
def test_times_people_write(value: str) -> None:
    assert parse_time(value) == START_US


@pytest.mark.parametrize("value", ["", "2026-11-20", "2026-11-20T10:00:00", "10:00", "2026-13-01T00:00:00Z", "now"])
def test_what_is_no_time(value: str) -> None:
    from typer import BadParameter

    with pytest.raises(BadParameter, match="is not a time like"):
        parse_time(value)


# --- recordings


@pytest.fixture
def recorded(soip: Soip, data: Path) -> RecordingRow:
    """A camera with one real file of four seconds, its row as the media role would make it, and a gap after it."""
    soip("camera", "add", "cam1", "--password", "p")
    settings = Settings.load(data=data)
    disk = DiskWriter(Root.open(settings.media_roots[0], "media-1", reserve_bytes=4096, room_bytes=0))
    disk.start()
    writer = RecordingWriter(
        disk, "cam1", [video_track("H264", [[SPS], [PPS]], 640, 360)], lambda event: None, server="media-1"
    )
    picture = b"\0\0\0\x05\x65abcd"
    for second in range(4):
        lost = 2 * (second == 2)
        samples = [Frame([picture], 3600, sync=number == 0, damaged=lost > 0 and number > 4) for number in range(25)]
        assert writer.append([run_of(1, second * 90_000, samples, lost)], START_US + second * 1_000_000)
    writer.seal()
    gap = Entry("gap", "g1", START_US + 4_000_000, START_US + 9_000_000, "camera offline", facts={"detail": "no reply"})
    disk.journal("cam1", gap)
    assert disk.close(10)
    (path,) = settings.media_roots[0].rglob("*.mp4")
    soip("store", "rebuild")
    (row,) = in_directory(data, lambda directory: directory.catalog.recordings("cam1"))
    assert Path(row.root, row.path) == path
    return row


def test_the_catalog_is_rebuilt_from_the_folder(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    for name in ("soip.db", "soip.db-wal", "soip.db-shm"):
        (data / name).unlink(missing_ok=True)
    result = soip("store", "rebuild")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1 recordings and 1 gaps of ")
    assert in_directory(data, lambda directory: directory.catalog.recordings("cam1")) == [recorded]
    (gap,) = in_directory(data, lambda directory: directory.catalog.gaps("cam1"))
    assert gap == GapRow("g1", "cam1", START_US + 4_000_000, START_US + 9_000_000, "camera offline", detail="no reply")
    assert soip("store", "check").code == 0


def test_recordings_are_held_until_the_hold_is_removed(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    assert "nothing is held" in soip("hold", "list").out
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-12-31T00:00:00Z")
    added = soip("hold", "add", "cam1", *span, "--reason", "case 7", "--reference", "A-1")
    (hold,) = soip("hold", "list", "--json").json
    assert hold["id"] in added.out
    assert (hold["camera"], hold["reason"], hold["removed"]) == ("cam1", "case 7", None)
    assert "case 7 (A-1)" in soip("hold", "list", "cam1").out
    assert soip("hold", "list", "cam2", "--json").json == []
    assert "removed" in soip("hold", "remove", hold["id"]).out
    assert soip("hold", "list", "--json").json == []
    (ended,) = soip("hold", "list", "--all", "--json").json
    assert ended["removed"] is not None


def test_a_camera_is_said_to_have_a_sub_stream(soip: Soip) -> None:
    soip("camera", "add", "cam1", "--password", "p", "--sub")
    for said, there in ((None, True), ("--off", False), ("--on", True)):
        if said is not None:
            assert soip("camera", "sub", "cam1", said).code == 0
        (camera,) = soip("camera", "list", "--json").json
        assert camera["sub"] is there


def test_a_camera_has_a_priority(soip: Soip, data: Path) -> None:
    soip("camera", "add", "cam1", "--password", "p", "--priority", "2")
    assert soip("camera", "priority", "cam1", "9").code == 0
    row = in_directory(data, lambda directory: directory.cameras.get("cam1"))
    assert row is not None
    assert row.priority == 9


def test_the_catalog_is_rebuilt_from_several_folders(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    other = data / "disk2"
    Root.open(other, "media-1", reserve_bytes=4096, room_bytes=0)
    place = other / recorded.path
    place.parent.mkdir(parents=True)
    Path(recorded.root, recorded.path).rename(place)
    both = ("--media", recorded.root, "--media", str(other))
    result = soip("store", "check", *both)
    assert (result.code, "2 findings" in result.err) == (1, True)
    assert soip("store", "rebuild", *both).code == 0
    assert soip("store", "check", *both).code == 0
    (row,) = in_directory(data, lambda directory: directory.catalog.recordings("cam1"))
    assert (row.root, row.path, row.frames) == (str(other), recorded.path, recorded.frames)
    result = soip("store", "check")
    assert (result.code, f"missing: {other}: 1 recordings" in result.out) == (1, True)


def test_recordings_as_json(soip: Soip, recorded: RecordingRow) -> None:
    (facts,) = soip("recordings", "cam1", "--json").json
    assert facts["camera"] == "cam1"
    assert facts["start"] == "2026-11-20T12:03:50.500000Z"
    assert facts["end"] == "2026-11-20T12:03:54.500000Z"
    assert facts["sealed"] is True
    assert facts["frames"] == 100
    assert facts["tracks"] == ["avc1.42C01E"]
    assert (facts["damaged_pictures"], facts["lost_packets"]) == (20, 2)
    (stretch,) = facts["damage"]
    assert (stretch["pictures"], stretch["packets"]) == (20, 2)
    assert (stretch["start"], stretch["end"]) == ("2026-11-20T12:03:52.700000Z", "2026-11-20T12:03:53.500000Z")
    assert Path(facts["path"]).is_absolute()
    assert Path(facts["path"]).stat().st_size == facts["bytes"]


def test_recordings_for_people(soip: Soip, recorded: RecordingRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = soip("recordings", "cam1").out
    assert "2026-11-20T12:03:50Z" in out
    assert "2 packets" in out
    assert str(Path(recorded.root, recorded.path)) in out  # Whole, however narrow the terminal.


def test_a_camera_without_recordings(soip: Soip) -> None:
    soip("camera", "add", "cam2", "--password", "p")
    assert soip("recordings", "cam2", "--json").json == []
    assert "nothing recorded of cam2" in soip("recordings", "cam2").out


def test_recordings_of_a_removed_camera_are_still_listed(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    in_directory(data, lambda directory: directory.cameras.remove("cam1"))
    assert len(soip("recordings", "cam1", "--json").json) == 1


def test_an_export(soip: Soip, tmp_path: Path, recorded: RecordingRow) -> None:
    output = tmp_path / "out.mp4"
    times = ("--from", "2026-11-20T12:03:51.5Z", "--to", "2026-11-20T12:03:53.5Z")
    result = soip("export", "cam1", *times, "--output", str(output))
    assert (result.code, result.out) == (0, f"{output}\n")
    content = output.read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.count(b"abcd") == 50
    failed(soip("export", "cam1", *times, "--output", "/dev/full/x.mp4"), 2, "there is no folder /dev/full")


def test_check_finds_what_disagrees(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    result = soip("store", "check")
    assert (result.code, result.out.split(":")[0]) == (0, f"1 recordings in {data / 'media'}")
    file = Path(recorded.root, recorded.path)
    file.rename(file.with_name("000000.mp4"))
    result = soip("store", "check")
    assert result.code == 1
    assert sorted(line.split(":")[0] for line in result.out.splitlines()) == ["missing", "unknown"]
    assert "soip store rebuild" in result.err
    assert soip("store", "rebuild").code == 0
    assert soip("store", "check").code == 0


def test_rebuild_names_what_it_cannot_read(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    file = Path(recorded.root, recorded.path)
    file.write_bytes(b"nonsense")
    result = soip("store", "rebuild")
    assert result.code == 1
    assert f"unreadable: {file}" in result.err
    assert soip("recordings", "cam1", "--json").json == []


def test_rebuild_keeps_known_digests(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    in_directory(data, lambda directory: directory.save(replace(recorded, sha256="ab" * 32)))
    soip("store", "rebuild")
    (facts,) = soip("recordings", "cam1", "--json").json
    assert facts["sha256"] == "ab" * 32


def test_a_foreign_identity_is_told(soip: Soip, data: Path, recorded: RecordingRow) -> None:
    (data / "media" / "soip-root.json").write_text("nonsense")
    failed(soip("store", "check"), 1, "soip-root.json cannot be read")


def test_a_row_of_the_catalog_is_a_row_of_the_store(recorded: RecordingRow) -> None:
    from soip.commands.store import _recording

    row = _recording(recorded)
    assert isinstance(row, Recording)
    assert (row.codecs, row.server, row.path) == (("avc1.42C01E",), "media-1", recorded.path)


# --- the demonstration


def prepare(data: Path) -> dict[str, str]:
    settings = Settings.load(data=data)
    return in_directory(data, lambda directory: demo._prepare(directory, settings))


def test_the_first_start_makes_an_administrator_and_two_cameras(data: Path) -> None:
    passwords = prepare(data)
    assert list(passwords) == ["cam1", "cam2"]
    assert passwords["cam1"] != passwords["cam2"]
    file = data / "admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    user = in_directory(data, lambda directory: directory.users.verify("admin", password))
    assert user is not None
    assert user.role == "admin"
    account = in_directory(data, lambda directory: directory.accounts.get("cam2"))
    assert account is not None
    assert account.ha1 == {"MD5": ha1("cam2", "soip.local", passwords["cam2"], "MD5")}


def test_the_next_start_keeps_all_of_it(data: Path) -> None:
    first = prepare(data)
    password = (data / "admin-password").read_text()
    version = in_directory(data, lambda directory: directory.settings.version())
    media = (data / "media-server.json").read_text()
    assert prepare(data) == first
    assert (data / "media-server.json").read_text() == media
    assert (data / "admin-password").read_text() == password
    assert in_directory(data, lambda directory: directory.settings.version()) == version


def test_a_lost_password_file_means_a_new_password(data: Path) -> None:
    prepare(data)
    old = (data / "admin-password").read_text().strip()
    (data / "admin-password").unlink()
    prepare(data)
    new = (data / "admin-password").read_text().strip()
    assert new != old
    assert in_directory(data, lambda directory: directory.users.verify("admin", new)) is not None
    assert in_directory(data, lambda directory: directory.users.verify("admin", old)) is None


def test_a_new_directory_keeps_the_password_of_the_file(data: Path) -> None:
    data.mkdir()
    (data / "admin-password").write_text("chosen by hand\n")
    prepare(data)
    assert in_directory(data, lambda directory: directory.users.verify("admin", "chosen by hand")) is not None


def test_a_real_camera_of_that_name_is_left_alone(soip: Soip, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soip("camera", "add", "cam1", "--password", "its own")
    assert list(prepare(data)) == ["cam2"]
    assert "cam1 is a camera of yours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listens", "reached"),
    [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("127.0.0.1:80", "127.0.0.1:80"), ("host:1", "host:1")],
)
def test_where_a_server_is_reached_from_here(listens: str, reached: str) -> None:
    assert str(demo.local(HostPort.parse(listens))) == reached


def test_the_cameras_password_is_not_on_their_command_line(data: Path) -> None:
    child = demo._camera(Settings.load(data=data), "cam1", "very secret")
    assert "very secret" not in child.arguments
    assert "very secret" not in repr(child)
    assert child.environment["SOIP_PASSWORD"] == "very secret"
    assert child.arguments[2:5] == ("simulate", "--id", "cam1")
