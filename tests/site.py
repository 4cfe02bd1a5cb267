"""A whole SoIP site for a test, run as people run it: the `soip` command, real processes, real files.

Use as `with Site(tmp_path, file_seconds=20) as site:`; leaving ends every process that was started here, and nothing
else. Keywords are names of `soip.config.Settings`. Ports are chosen below the kernel's own range, so that a server
which was killed finds them free again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

PASSWORD = "camera-password"
USER = "admin"
USER_PASSWORD = "user-password"
SIP_PASSWORD = "sip-password"
DOMAIN = "soip.test"
PATIENT_S = 120.0
"""How long a test waits for what should take a moment: machines are busy."""


class Program:
    """A program that runs beside the test, its output in a file; JSON lines of it can be asked for."""

    def __init__(self, log: Path, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self._stream = log.open("ab")
        self._read = 0
        self._entries: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """All that was printed so far."""
        return self.log.read_text("utf-8", "replace")

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The structured log lines so far. Each is read once: who waits for one asks ten times a second."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            new, _, _ = file.read().rpartition(b"\n")
        if new:
            self._read += len(new) + 1
            lines = (line.strip() for line in new.decode("utf-8", "replace").split("\n"))
            self._entries += [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return list(self._entries)

    def kill(self) -> None:
        """As by `kill -9`."""
        self.process.kill()
        self.process.wait()
        self._stream.close()

    def stop(self, within: float = PATIENT_S) -> int:
        """As by SIGTERM; its exit code. Harmless when it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.process.args!r} did not end:\n{self.text[-2000:]}") from None
        finally:
            self._stream.close()


@dataclass(frozen=True)
class Gap:
    """A row of the timeline: nothing was recorded from `start` to `end` (µs UTC), and why."""

    start: int
    end: int
    cause: str
    detail: str = ""


@dataclass(frozen=True)
class File:
    """A recorded file as `soip recordings --json` tells it; times in µs UTC."""

    path: Path
    start: int
    end: int
    frames: int
    bytes: int
    sealed: bool


class Site:
    """A server with its data in `folder`, cameras and people around it."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", **settings: object) -> None:
        self.folder = folder
        self.host = host
        self.data = folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.sip = free_port(host)
        self.http = free_port(host)
        low = random.randrange(20_000, 29_000, 400)
        defaults: dict[str, object] = {
            "data": self.data,
            "domain": DOMAIN,
            "http": f"{host}:{self.http}",
            "sip": f"{host}:{self.sip}",
            "rtp_ports": f"{low}-{low + 399}",
            "media_workers": 1,
            "log_format": "json",
        }
        self.settings = {f"SOIP_{name.upper()}": str(value) for name, value in {**defaults, **settings}.items()}
        self.server: Program | None = None
        self.server_environment: dict[str, str] = {}
        """Of the server alone, beside its settings."""
        self._programs: list[Program] = []
        self._stack = ExitStack()
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()
        for program in reversed(self._programs):
            try:
                program.stop()
            except AssertionError:
                if error is None:  # else the test has failed for a better reason
                    raise

    # -- commands

    @property
    def sip_address(self) -> str:
        return f"{self.host}:{self.sip}"

    @property
    def base(self) -> str:
        """The console's address."""
        return f"http://{self.host}:{self.http}"

    def soip(self, *arguments: str, check: bool = True, within: float = PATIENT_S) -> subprocess.CompletedProcess[str]:
        """Run a `soip` command to its end, on this site's data."""
        command = [sys.executable, "-m", "soip", *arguments]
        environment = {**os.environ, **self.settings}
        done = subprocess.run(command, capture_output=True, text=True, timeout=within, env=environment, check=False)
        if check:
            assert done.returncode == 0, f"soip {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def add_camera(self, identity: str, *options: str, password: str = PASSWORD) -> None:
        self.soip("camera", "add", identity, "--password", password, *options)

    def add_user(self, name: str = USER, role: str = "admin") -> None:
        secrets = ("--password", USER_PASSWORD, "--sip-password", SIP_PASSWORD)
        self.soip("user", "add", name, "--role", role, *secrets)

    def run(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Program:
        """Start a program that is ended with the site; its output goes to `<folder>/<name>-N.log`."""
        self._runs += 1
        program = Program(self.folder / f"{name}-{self._runs}.log", command, environment)
        self._programs.append(program)
        return program

    def simulate(self, identity: str, *options: str, password: str = PASSWORD) -> Program:
        """A software camera."""
        options = ("--id", identity, "--password", password, "--server", self.sip_address, *options)
        return self.run(
            identity, [sys.executable, "-m", "soip", "simulate", "--domain", DOMAIN, *options], self.settings
        )

    def play_command(self, camera: str, output: Path, *options: str, user: str = USER) -> list[str]:
        """The arguments of `soip play`, for `soip` or, after `python -m soip`, for `run`."""
        who = ("--user", user, "--password", SIP_PASSWORD, "--server", self.sip_address)
        return ["play", f"sip:{camera}@{DOMAIN}", *who, "--output", str(output), *options]

    # -- the server

    def launch(self) -> None:
        """`soip serve`, and wait until all its processes are there."""
        self.server = self.run(
            "serve", [sys.executable, "-m", "soip", "serve"], {**self.settings, **self.server_environment}
        )
        until(lambda: self.count("process started") >= len(self.workers) + 2, explain=self.explain)

    def start(self, within: float = PATIENT_S) -> None:
        """`soip serve`, and wait until every worker and the console are ready."""
        self.launch()
        workers = len(self.workers)
        until(lambda: self.count("media worker ready") >= workers and self._answers(), within, self.explain)

    def stop(self) -> int:
        """End the server as an operator does."""
        assert self.server is not None
        return self.server.stop()

    def kill(self) -> None:
        """kill -9 of every process of the server at once."""
        assert self.server is not None
        children = [self.pid_of(name) for name in ("sip", "web", *self.workers)]
        self.server.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(alive, children)))

    @property
    def workers(self) -> list[str]:
        return [f"media-{number}" for number in range(int(self.settings["SOIP_MEDIA_WORKERS"]))]

    def pid_of(self, name: str) -> int:
        """The process id of `sip`, `web` or `media-K` as the supervisor last said it."""
        started = [e for e in self.entries if e["event"] == "process started" and e["name"] == name]
        return int(started[-1]["pid"])

    def kill_process(self, name: str) -> None:
        """kill -9 of one process of the server; its supervisor starts it again."""
        os.kill(self.pid_of(name), signal.SIGKILL)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the running server has logged."""
        return self.server.entries if self.server else []

    def count(self, event: str, **facts: object) -> int:
        """How many log lines say this."""
        return sum(e["event"] == event and facts.items() <= e.items() for e in self.entries)

    def explain(self) -> str:
        """The end of the server's log, for a failing test."""
        return self.server.text[-4000:] if self.server else "not started"

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.base}/api/health", trust_env=False, timeout=20).status_code == 200
        return False

    # -- what is known

    def camera(self, identity: str) -> dict[str, Any]:
        """One line of `soip camera list --json`."""
        cameras = json.loads(self.soip("camera", "list", "--json").stdout)
        return next(dict(camera) for camera in cameras if camera["id"] == identity)

    def until_camera(self, identity: str, media: str = "recording", within: float = PATIENT_S) -> None:
        """Wait until a camera's media state is this, as the directory has it."""
        query = "SELECT media FROM camera_state WHERE camera_id = ?"
        until(lambda: self.query(query, identity) == [(media,)], within, self.explain)

    def recordings(self, camera: str) -> list[File]:
        """What `soip recordings --json` lists."""
        rows = json.loads(self.soip("recordings", camera, "--json").stdout)
        return [
            File(Path(r["path"]), parse_us(r["start"]), parse_us(r["end"]), r["frames"], r["bytes"], r["sealed"])
            for r in rows
        ]

    def frames(self, camera: str, since: int = 0) -> int:
        """How many pictures are in the files that began after `since`, for waiting: cheaper than `recordings`."""
        query = "SELECT coalesce(sum(frames), 0) FROM recording WHERE camera_id = ? AND start_us > ?"
        return int(self.query(query, camera, since)[0][0])

    def gaps(self, camera: str) -> list[Gap]:
        """The gaps of the catalog, in order."""
        query = "SELECT start_us, end_us, cause, detail FROM gap WHERE camera_id = ? ORDER BY start_us"
        return [Gap(*row) for row in self.query(query, camera)]

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Look into the directory's database."""
        with closing(sqlite3.connect(f"file:{self.data / 'soip.db'}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql, values).fetchall()

    @cached_property
    def page(self) -> httpx.Client:
        """A session that is kept, also while the server is away: each request has a connection of its own."""
        client = self._stack.enter_context(self.client())
        client.headers["Connection"] = "close"
        return client

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A browser's session, signed in as the administrator."""
        with httpx.Client(base_url=self.base, trust_env=False, timeout=PATIENT_S) as client:
            answer = client.post("/api/session", json={"name": USER, "password": USER_PASSWORD})
            assert answer.status_code == 200, answer.text
            yield client


def until(condition: Callable[[], object], within: float = PATIENT_S, explain: Callable[[], str] = lambda: "") -> None:
    """Wait until `condition` holds; an AssertionError with `explain` when it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s\n{explain()}"
        time.sleep(0.1)  # Other processes are watched, which wake nobody here.


def free_port(host: str) -> int:
    """A port that is free for UDP and TCP, and that the kernel gives to nobody by itself."""
    for port in random.sample(range(10_000, 20_000), 200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp, suppress(OSError):
            udp.bind((host, port))
            tcp.bind((host, port))
            return port
    raise AssertionError("no free port")


def alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def now_us() -> int:
    return time.time_ns() // 1000


def rfc3339(us: int) -> str:
    """µs UTC as the command line and the API write it."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_us(text: str) -> int:
    """The reverse of `rfc3339`."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
