"""SIP: registrations, keepalives and calls by SIPp, through ours and through Kamailio in turn; and a cold restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from benches.measured import MEASURED_CPU, OTHER_CPU, pinned
from benches.registrar_ours import DOMAIN
from benches.report import Comparison, Figure, free_ports, until_bound
from soip.sip import headers as h
from soip.sip.digest import Credentials, answer_challenge
from soip.sip.message import Headers, Request, Response, parse_message
from soip.sip.uri import Uri

ACCOUNTS = 20_000
SOURCES = 200
"""Addresses on loopback that the cameras of a round come from: one source may not ask as often as all together."""
_PORT = free_ports(2)
OUR_PORT, KAMAILIO_PORT, LOCAL_PORT, CALLEE_PORT = range(_PORT, _PORT + 4)
MARKS = {"register": 5.0, "keepalive": 5.0, "call": 5.0}
RATES = {"register": 1000, "keepalive": 2500, "call": 100}
"""What SIPp begins each second, of both servers alike: about half of what ours can do. Who is asked seldom pays for
waking up and for cold caches each time, and what that costs is not of a registration.
"""
CAPACITIES = {"register": 2000, "keepalive": 4000}
"""How many a second one core is to do."""
FLAT_OUT_RATE, FLAT_OUT_AT_ONCE = 10_000, 200
"""More than ours can do; SIPp begins no more than so many before the first are done."""
RESTART_RATE = 500
RESTART_SECONDS = 60
SETTLED_SECONDS = 35
"""After which what absorbs repeats is gone, and all is written."""

_HERE = Path(__file__).parent


class Side(Protocol):
    """A server that is measured."""

    port: int

    def cpu_us(self) -> float:
        """CPU time so far, all its processes together."""


@dataclass
class Ours:
    """The SIP server of this project, in a process of its own."""

    process: subprocess.Popen[str]
    port: int = OUR_PORT

    def ask(self) -> tuple[float, int, int]:
        """CPU µs, resident bytes, bindings."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        cpu, resident, bindings = self.process.stdout.readline().split()
        return float(cpu), int(resident), int(bindings)

    def cpu_us(self) -> float:
        return self.ask()[0]


@dataclass
class Kamailio:
    """All processes of one Kamailio."""

    group: int
    port: int = KAMAILIO_PORT

    def cpu_us(self) -> float:
        nanoseconds = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                if int(stat.read_text().rpartition(")")[2].split()[2]) == self.group:
                    # `stat` itself counts in hundredths of a second, which a quick machine has for 100 registrations.
                    threads = stat.parent.glob("task/*/schedstat")
                    nanoseconds += sum(int(thread.read_text().split()[0]) for thread in threads)
        return nanoseconds / 1000


def run(rounds: int, seconds: float) -> list[Comparison]:
    """Measure in turn. Raises RuntimeError or CalledProcessError if a part does not run."""
    if shutil.which("sipp") is None:
        raise RuntimeError("sipp is not installed (Debian: sip-tester)")
    comparisons = {
        name: Comparison(name, f"{RATES[name]} a second by SIPp, {seconds:g} s a round", mark, name, "Kamailio")
        for name, mark in MARKS.items()
    }
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder, ExitStack() as stack:
        directory = Path(folder)
        _write_users(directory)
        ours = stack.enter_context(serving(directory))
        kamailio = stack.enter_context(_kamailio(directory)) if shutil.which("kamailio") else None
        for side in (ours, kamailio):
            if side is not None:
                _sipp(directory, side, "register", FLAT_OUT_RATE, ACCOUNTS, at_once=FLAT_OUT_AT_ONCE)
                _register_callee(side.port)
        with _callee(directory):
            for _ in range(rounds):
                for name, comparison in comparisons.items():
                    comparison.ours.append(_round(directory, ours, name, seconds))
                    if kamailio is not None:
                        comparison.floor.append(_round(directory, kamailio, name, seconds))
        for name, mark in CAPACITIES.items():
            comparisons[name].more.append(_flat_out(directory, ours, name, mark, rounds, seconds))
    return list(comparisons.values())


def _round(directory: Path, side: Side, name: str, seconds: float) -> Figure:
    count = int(RATES[name] * seconds)
    before, began = side.cpu_us(), time.monotonic()
    _sipp(directory, side, name, RATES[name], count)
    cpu, took = side.cpu_us() - before, time.monotonic() - began
    return Figure(count, cpu, "" if took < 2 * seconds else "SIPp was late")


def _flat_out(directory: Path, side: Side, name: str, mark: int, rounds: int, seconds: float) -> str:
    """How many a second of one core when the next is always there: the median of the rounds."""
    count = min(ACCOUNTS, int(mark * seconds))
    figures = []
    for _ in range(rounds):
        before = side.cpu_us()
        _sipp(directory, side, name, FLAT_OUT_RATE, count, at_once=FLAT_OUT_AT_ONCE)
        figures.append(1e6 * count / (side.cpu_us() - before))
    reached = median(figures)
    verdict = "kept" if reached >= mark else "MISSED"
    told = " ".join(f"{figure:.0f}" for figure in figures)
    return f"  flat out: {reached:.0f} a second of one core, mark {mark} {verdict}   (rounds: {told})"


def restart() -> list[str]:
    """Kill a server that has ACCOUNTS cameras registered, start it again, and let all of them register at once."""
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as folder:
        directory = Path(folder)
        _write_users(directory)
        with serving(directory) as ours:
            empty = ours.ask()[1]
            _sipp(directory, ours, "register", RESTART_RATE, ACCOUNTS)
            time.sleep(SETTLED_SECONDS)  # Nothing tells when the last repeat is no longer waited for.
            full, bindings = ours.ask()[1:]
            ours.process.kill()
        began = time.monotonic()
        with serving(directory) as ours:
            online = ours.ask()[2]
            ready = time.monotonic() - began
            _sipp(directory, ours, "register", RESTART_RATE, ACCOUNTS)
            took = time.monotonic() - began
    kept = "kept" if took <= RESTART_SECONDS and online == bindings == ACCOUNTS else "MISSED"
    return [
        f"restart: {ACCOUNTS} cameras, {RESTART_RATE} registrations a second by SIPp",
        f"  {bindings} registered, {online} online again {ready:.1f} s after the kill, before any had registered",
        f"  all registered anew {took:.1f} s after the kill, mark {RESTART_SECONDS} s {kept}",
        f"  {(full - empty) / ACCOUNTS / 1024:.1f} kB of memory a registered camera, mark 4 kB",
    ]


def _write_users(directory: Path) -> None:
    lines = ["SEQUENTIAL"]
    for number in range(ACCOUNTS):
        place = number % SOURCES
        address = f"127.0.{place // 100 + 1}.{place % 100 + 1}"
        lines.append(f"{address};cam{number};[authentication username=cam{number} password=pw];")
    (directory / "users.csv").write_text("\n".join(lines) + "\n")


@contextmanager
def serving(directory: Path, accounts: int = ACCOUNTS) -> Iterator[Ours]:
    """Our SIP server with so many cameras that may register."""
    command = [*pinned(MEASURED_CPU), sys.executable, "-m", "benches.registrar_ours"]
    arguments = [str(directory / "data"), str(OUR_PORT), str(accounts)]
    (directory / "data").mkdir(exist_ok=True)
    with subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the SIP server did not start")
            yield Ours(process)
        finally:
            process.kill()


@contextmanager
def _kamailio(directory: Path) -> Iterator[Kamailio]:
    text = (_HERE / "kamailio.cfg").read_text().replace("KAMAILIO_PORT", str(KAMAILIO_PORT))
    config = directory / "kamailio.cfg"
    config.write_text(text)
    with (directory / "kamailio.log").open("w") as log:
        command = [*pinned(MEASURED_CPU), "kamailio", "-f", str(config), "-DD", "-E", "-m", "512", "-Y", str(directory)]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            try:
                until_bound(KAMAILIO_PORT, process)
            except RuntimeError as error:
                raise RuntimeError(
                    "Kamailio did not start: " + (directory / "kamailio.log").read_text()[-500:]
                ) from error
            yield Kamailio(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


@contextmanager
def _callee(directory: Path) -> Iterator[None]:
    command = [*pinned(OTHER_CPU), "sipp", "-sf", str(_HERE / "sipp/callee.xml"), "-i", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "-p", str(CALLEE_PORT), "-nostdin", "-t", "u1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=directory,
    ) as process:
        try:
            until_bound(CALLEE_PORT, process)
            yield
        finally:
            process.kill()


def _sipp(directory: Path, side: Side, scenario: str, rate: int, count: int, at_once: int = 0) -> None:
    """Run a scenario so often. Raises RuntimeError when one call did not go as written."""
    name = {"call": "caller"}.get(scenario, scenario)
    command = [*pinned(OTHER_CPU), "sipp", f"127.0.0.1:{side.port}", "-sf", str(_HERE / f"sipp/{name}.xml")]
    command += ["-inf", "users.csv", "-t", "ui", "-ip_field", "0", "-i", "127.0.0.1", "-p", str(LOCAL_PORT)]
    command += ["-r", str(rate), "-m", str(count), "-max_socket", "1000", "-timeout", f"{count // rate + 60}s"]
    command += ["-timeout_error", "-nostdin", *(["-l", str(at_once)] if at_once else [])]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory, check=False)
    if done.returncode:
        raise RuntimeError(
            f"SIPp {scenario} ended with {done.returncode}: {done.stderr[-500:].decode(errors='replace')}"
        )


def _register_callee(port: int) -> None:
    """REGISTER who is called, from the address that SIPp will have."""
    request = Request(
        "REGISTER",
        Uri("sip", "", DOMAIN),
        Headers(
            [
                ("Via", f"SIP/2.0/UDP 127.0.0.1:{CALLEE_PORT};branch=z9hG4bK-callee-1"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:bob@{DOMAIN}>;tag=1"),
                ("To", f"<sip:bob@{DOMAIN}>"),
                ("Call-ID", "callee"),
                ("CSeq", "1 REGISTER"),
                ("Contact", f"<sip:bob@127.0.0.1:{CALLEE_PORT}>"),
                ("Expires", "3600"),
            ]
        ),
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", CALLEE_PORT))
        sock.settimeout(30)
        challenge = _ask(sock, port, request)
        (offered, *_) = h.challenges(challenge.headers)
        answer = answer_challenge(offered, "REGISTER", str(request.uri), Credentials("bob", "pw"), "cnonce")
        request.headers.set("Authorization", str(answer))
        request.headers.set("CSeq", "2 REGISTER")
        request.headers.set("Via", f"SIP/2.0/UDP 127.0.0.1:{CALLEE_PORT};branch=z9hG4bK-callee-2")
        if (response := _ask(sock, port, request)).status != 200:
            raise RuntimeError(f"who is called could not register: {response.status} {response.reason}")


def _ask(sock: socket.socket, port: int, request: Request) -> Response:
    sock.sendto(request.to_bytes(), ("127.0.0.1", port))
    message = parse_message(sock.recv(65536))
    assert isinstance(message, Response)
    return message
