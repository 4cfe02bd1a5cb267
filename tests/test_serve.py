"""The supervisor: restarts, order, signals, and no child left behind. Real processes, most of them tiny."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.lifeline import EXIT_CANNOT_START, VARIABLE, StartError, supervised
from soip.process import HeldError, check_free, holding
from soip.serve import Child, Patience, Supervisor, check, command, reason, roles

QUICK = Patience(first_pause_s=0.02, longest_pause_s=0.1, stable_s=0.5, grace_s=60.0)
WAIT = "import time; time.sleep(600)"
PATIENT_S = 60.0
"""How long a test waits for what should take a moment: machines are busy."""


def program(name: str, code: str, *, stage: int = 1) -> Child:
    return Child(name, ("-S", "-c", code), {}, stage)


def writing(file: Path, then: str = WAIT) -> str:
    """A program that adds its process id as a line to a file."""
    return f"import os\nwith open({str(file)!r}, 'a') as f: print(os.getpid(), file=f)\n{then}"


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def alive(pid: int) -> bool:
    """True for a process that runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ignored_by(pid: int) -> set[signal.Signals]:
    """The signals a process ignores, proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), 16)
    return {number for number in signal.Signals if mask & 1 << number - 1}


async def until(condition: object, seconds: float = PATIENT_S) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextmanager
def listening(kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[HostPort]:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        yield HostPort("127.0.0.1", taken.getsockname()[1])


def free_port() -> int:
    with listening() as address:
        return address.port


async def test_a_child_that_ends_is_started_again(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    supervisor = Supervisor([program("one", writing(file, "os._exit(3)"))], QUICK)
    with capture_logs() as logs:
        running = asyncio.create_task(supervisor.run())
        await until(lambda: len(lines(file)) >= 4)
        supervisor.stop()
        await running
    assert len(set(lines(file))) >= 4
    ends = [entry for entry in logs if entry["event"] == "process ended"]
    assert ends[0]["reason"] == "exit code 3"
    assert ends[0]["name"] == "one"


async def test_a_killed_child_is_started_again_and_the_other_is_not_touched(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    supervisor = Supervisor([program("one", writing(one)), program("two", writing(two))], QUICK)
    with capture_logs() as logs:
        running = asyncio.create_task(supervisor.run())
        await until(lambda: lines(one) and lines(two))
        os.kill(int(lines(one)[0]), signal.SIGKILL)
        await until(lambda: len(lines(one)) == 2)
        supervisor.stop()
        await running
    assert len(lines(two)) == 1
    assert any(entry.get("reason") == "signal SIGKILL" for entry in logs)
    assert not any(alive(int(pid)) for pid in lines(one) + lines(two))


async def test_the_pause_grows_and_is_short_again_after_a_stable_run(tmp_path: Path) -> None:
    file = tmp_path / "times"
    # Fails five times, then runs for longer than `stable_s`, and fails again.
    code = (
        "import os, time\n"
        f"path = {str(file)!r}\n"
        "with open(path, 'a') as f: print(time.time(), file=f)\n"
        "count = len(open(path).readlines())\n"
        "time.sleep(2.2 if count == 6 else 0)\n"
        "with open(path + '.end', 'a') as f: print(time.time(), file=f)\n"
    )
    patience = Patience(first_pause_s=0.05, longest_pause_s=3.0, stable_s=2.0, grace_s=60.0)
    supervisor = Supervisor([program("one", code)], patience)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(lines(file)) >= 8)
    supervisor.stop()
    await running
    starts, ends = lines(file), lines(tmp_path / "times.end")
    pauses = [float(start) - float(end) for start, end in zip(starts[1:], ends, strict=False)]
    assert pauses[0] >= 0.05
    assert pauses[4] >= 0.8
    assert pauses[5] < pauses[4] or pauses[6] < pauses[4], "a machine may stall in one of them"


async def test_a_child_that_cannot_start_ends_everything(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    children = [program("good", writing(file)), program("bad", f"import os; os._exit({EXIT_CANNOT_START})")]
    supervisor = Supervisor(children, QUICK)
    with pytest.raises(StartError, match="bad cannot start"):
        await supervisor.run()
    assert not any(alive(int(pid)) for pid in lines(file))


async def test_a_child_that_ran_well_is_tried_again_even_then(tmp_path: Path) -> None:
    """Another program that takes the console's port for a moment must not end the recording."""
    file = tmp_path / "pids"
    code = writing(file, f"import time; time.sleep(0.6 if len(open({str(file)!r}).readlines()) == 1 else 0)\n") + (
        f"os._exit({EXIT_CANNOT_START})"
    )
    supervisor = Supervisor([program("one", code)], QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(lines(file)) >= 3)
    supervisor.stop()
    await running


async def test_a_machine_that_gives_no_process_just_now_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    create = asyncio.create_subprocess_exec
    refused = 0

    async def scarce(*command: str, **options: Any) -> asyncio.subprocess.Process:
        nonlocal refused
        if str(two) in command[-1] and refused < 3:
            refused += 1
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await create(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scarce)
    supervisor = Supervisor([program("one", writing(one)), program("two", writing(two))], QUICK)
    with capture_logs() as logs:
        running = asyncio.create_task(supervisor.run())
        await until(lambda: lines(one) and lines(two))
        supervisor.stop()
        await running
    assert len(lines(one)) == 1
    told = [entry for entry in logs if entry["event"] == "process not started; trying again"]
    assert [entry["name"] for entry in told] == ["two"] * 3
    assert told[0]["pause_s"] < told[1]["pause_s"]
    assert "Resource temporarily unavailable" in told[0]["reason"]


async def test_children_end_in_stages(tmp_path: Path) -> None:
    file = tmp_path / "ends"

    def code(name: str) -> str:
        return (
            "import signal, sys, time\n"
            "def end(*_):\n    time.sleep(0.1)\n"
            f"    open({str(file)!r}, 'a').write({name!r} + chr(10))\n    sys.exit()\n"
            f"signal.signal(signal.SIGTERM, end)\nopen({str(tmp_path / name)!r}, 'w')\ntime.sleep(60)\n"
        )

    children = [program(name, code(name), stage=stage) for name, stage in (("sip", 0), ("media", 1), ("camera", 2))]
    supervisor = Supervisor(children, QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: all((tmp_path / name).exists() for name in ("sip", "media", "camera")))
    supervisor.stop()
    await running
    assert lines(file) == ["camera", "media", "sip"]


async def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    supervisor = Supervisor([program("deaf", deaf + writing(file))], Patience(grace_s=0.2))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: lines(file))
    with capture_logs() as logs:
        supervisor.stop()
        await running
    assert not alive(int(lines(file)[0]))
    assert [entry["event"] for entry in logs] == ["process did not end in time", "process ended"]


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    supervisor = Supervisor([program("deaf", deaf + writing(file))], Patience(grace_s=60, again_s=0.2))
    running = asyncio.create_task(supervisor.run())
    await until(lambda: lines(file))
    supervisor.stop()
    supervisor.stop()  # A wrapper's echo of the same signal.
    await asyncio.sleep(0.1)
    assert alive(int(lines(file)[0]))
    await asyncio.sleep(0.2)
    supervisor.stop()
    await asyncio.wait_for(running, PATIENT_S)
    assert not alive(int(lines(file)[0]))


SUPERVISOR = """
import asyncio, sys
from soip.serve import Child, Supervisor, supervise
code = '''
from soip.lifeline import tie_to_parent
tie_to_parent()
import os, time, sys
with open(sys.argv[1], 'a') as f: print(os.getpid(), file=f)
time.sleep(60)
'''
children = [Child(str(n), ("-c", code, sys.argv[1])) for n in range(2)]
asyncio.run(supervise(Supervisor(children)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_no_child_outlives_its_supervisor(
    tmp_path: Path, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    # Tests that were started with nohup ignore it, and so would what they start.
    request.addfinalizer(partial(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL)))
    file = tmp_path / "pids"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(file), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: len(lines(file)) == 2)
        process.send_signal(number)
        code = await asyncio.wait_for(process.wait(), PATIENT_S)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        await until(lambda: not any(alive(int(pid)) for pid in lines(file)))
    finally:
        for pid in [int(line) for line in lines(file)] + [process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_a_server_started_with_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'trap "" HUP; exec "$0" -c "$1" "$2"', sys.executable, SUPERVISOR, str(file)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: len(lines(file)) == 2)
        process.send_signal(signal.SIGHUP)
        # Who still starts children again is not about to end.
        os.kill(int(lines(file)[0]), signal.SIGKILL)
        await until(lambda: len(lines(file)) == 3)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), PATIENT_S) == 0
    finally:
        for pid in [int(line) for line in lines(file)] + [process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_children_leave_a_terminals_signals_to_their_supervisor(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    code = "from soip.lifeline import tie_to_parent\ntie_to_parent()\n" + writing(file)
    supervisor = Supervisor([Child("one", ("-c", code))], QUICK)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: lines(file))
    ignored = ignored_by(int(lines(file)[0]))
    supervisor.stop()
    await running
    assert {signal.SIGHUP, signal.SIGINT} <= ignored
    assert signal.SIGTERM not in ignored


async def test_an_orphan_notices_at_once() -> None:
    """Its supervisor died between the start and the first line of the child."""
    code = "from soip.lifeline import tie_to_parent\ntie_to_parent()\nprint('still here')"
    environment = {**os.environ, VARIABLE: "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (1, b"")


HOLDER = """
import subprocess, sys
from pathlib import Path
from soip.process import holding
with holding(Path(sys.argv[1]), "held"):
    # Without our pipe: its end is the holder's end.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    child.wait()
"""


async def test_a_lock_goes_with_its_process_even_when_that_was_killed_and_left_children(tmp_path: Path) -> None:
    file = tmp_path / "data" / "media-0.lock"
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(file), stdout=pipe)
    assert holder.stdout is not None
    child = int(await holder.stdout.readline())
    try:
        with pytest.raises(HeldError, match="it is held"), holding(file, "it is held"):
            raise AssertionError("two hold it")
        holder.kill()
        await holder.wait()
        assert alive(child)
        with holding(file, "it is held"):
            pass
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with holding(file, "it is held"):
        pass  # and given back by who lives on


def test_a_lock_that_cannot_be_made_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with (
        pytest.raises(StartError, match=r"serve\.lock cannot be opened"),
        holding(tmp_path / "data" / "serve.lock", ""),
    ):
        raise AssertionError


def test_who_meets_its_dying_former_self_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert HeldError("x").exit_code == 1 != StartError("x").exit_code


def test_a_process_of_its_own_is_not_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not supervised()
    assert StartError("x").exit_code == 1
    monkeypatch.setenv(VARIABLE, "1")
    assert supervised()
    assert StartError("x").exit_code == EXIT_CANNOT_START


def test_the_processes_of_serve(tmp_path: Path) -> None:
    settings = Settings.load(data=tmp_path, media_workers=2, domain="x.example")
    children = roles(settings)
    assert [child.name for child in children] == ["sip", "web", "media-0", "media-1"]
    assert children[3].arguments == ("-m", "soip", "media", "--worker", "1") == command("media", "--worker", "1")
    assert all(child.environment["SOIP_DOMAIN"] == "x.example" for child in children)
    assert children[0].stage < min(child.stage for child in children[1:])
    assert "x.example" not in repr(children)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_busy_sip_port_is_told_before_anything_starts(tmp_path: Path, kind: socket.SocketKind) -> None:
    with listening(kind) as taken:
        settings = Settings.load(data=tmp_path, sip=taken, http=HostPort("127.0.0.1", free_port()))
        with pytest.raises(StartError, match=rf"{taken} \((UDP|TCP)\) is in use by another program.*--sip HOST:PORT"):
            check(settings)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"http": "127.0.0.1:0"}, "--http a port other than 0"),
        ({"sip": "127.0.0.1:0"}, "--sip a port other than 0"),
        ({"http": "192.0.2.1:8080"}, "cannot listen on 192.0.2.1:8080"),
        ({"http": "no.such.host.invalid:8080"}, "there is no host 'no.such.host.invalid'"),
        ({"rtp_ports": "20000-20003", "media_workers": 4}, "--rtp-ports"),
        ({"multicast_groups": "239.192.10.0/31", "media_workers": 4}, "choose a wider range as multicast_groups"),
    ],
)
def test_what_cannot_start_is_told_in_a_line(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(StartError, match=text) as error:
        check(Settings.load(data=tmp_path, **options))
    assert "\n" not in str(error.value)


def test_a_port_with_lingering_connections_is_free() -> None:
    """A server that was just killed leaves its connections in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    check_free(HostPort("127.0.0.1", port), "--http")


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (78, "exit code 78"), (-9, "signal SIGKILL"), (-63, "signal 63")]
)
def test_return_codes_in_words(code: int, words: str) -> None:
    assert reason(code) == words


async def test_one_busy_port_ends_serve_with_one_line(tmp_path: Path) -> None:
    with listening() as taken:
        arguments = ("--data", str(tmp_path), "--http", str(taken), "--sip", f"127.0.0.1:{free_port()}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command("serve", *arguments), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == (
        f"soip: {taken} (TCP) is in use by another program: "
        "end that one, or choose another address with --http HOST:PORT or SOIP_HTTP=HOST:PORT\n"
    )
    assert not (tmp_path / "soip.db").exists()


async def test_a_role_with_a_busy_port_tells_its_supervisor_to_give_up(tmp_path: Path) -> None:
    with listening() as taken:
        settings = Settings.load(data=tmp_path, http=taken)
        supervisor = Supervisor([Child("web", command("web"), settings.environment())])
        with pytest.raises(StartError, match="web cannot start"):
            await asyncio.wait_for(supervisor.run(), PATIENT_S)


ROLE = """
import asyncio
from soip.config import Settings
from soip.process import run_role
async def main():
    {code}
run_role(Settings.load(data={data!r}, log_format="json"), "test", main)
"""


async def run_role_of(code: str, data: Path, *, until_ready: bool = False) -> tuple[int | None, list[dict[str, str]]]:
    """Runs a role; its exit code and what it logged. With `until_ready`, SIGTERM comes after its first line
    of output."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ROLE.format(code=code, data=str(data)), stdout=pipe, stderr=pipe
    )
    if until_ready:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    return process.returncode, [json.loads(line) for line in errors.splitlines()]


async def test_sigterm_cancels_a_role_and_is_a_clean_end(tmp_path: Path) -> None:
    code, logs = await run_role_of("print('ready', flush=True); await asyncio.sleep(60)", tmp_path, until_ready=True)
    assert code == 0
    assert [(entry["event"], entry["role"], entry["level"]) for entry in logs] == [("ended", "test", "info")]


async def test_a_role_may_open_as_many_files_as_its_user_may(tmp_path: Path) -> None:
    shown = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    role = ROLE.format(code=shown, data=str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -S -n 256; exec "$0" -c "$1"', sys.executable, role),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    soft, hard = map(int, out.split())
    assert soft == min(hard, 65_536)


@pytest.mark.parametrize(
    ("raised", "text", "with_trace"),
    [
        ("raise ValueError('a bug')", "a bug", True),
        ("raise ExceptionGroup('', [ExceptionGroup('', [KeyError('k')])])", "'k'", True),
        (
            "from soip.directory.errors import UnavailableError as E; raise ExceptionGroup('', [E('away')])",
            "away",
            False,
        ),
        ("from soip.net.errors import RequestTimeoutError as E; raise E('no answer')", "no answer", False),
    ],
)
async def test_a_role_that_fails_says_why_in_one_record(
    tmp_path: Path, raised: str, text: str, with_trace: bool
) -> None:
    code, logs = await run_role_of(raised, tmp_path)
    assert code == 1
    (entry,) = logs
    assert (entry["event"], entry["reason"], "exception" in entry) == ("cannot go on", text, with_trace)


@pytest.mark.e2e
async def test_the_demonstration_starts_shows_where_it_is_and_ends_cleanly(tmp_path: Path) -> None:
    http, sip = free_port(), free_port()
    arguments = ("--data", str(tmp_path / "run"), "--http", f"127.0.0.1:{http}", "--sip", f"127.0.0.1:{sip}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command("demo", *arguments, "--rtp-ports", "42000-42199", "--media-workers", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        shown = ""
        async with asyncio.timeout(2 * PATIENT_S):
            while "Ctrl-C" not in shown:
                shown += (await process.stdout.readline()).decode()
        assert f"http://127.0.0.1:{http}" in shown
        assert str(tmp_path / "run" / "admin-password") in shown
        children = children_of(process.pid)
        assert len(children) == 5
        async with await Directory.open(Settings.load(data=tmp_path / "run").database_url) as directory:
            async with asyncio.timeout(PATIENT_S):
                while not {"cam1", "cam2"} <= {row.aor for row in await directory.calls.bindings()}:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), PATIENT_S) == 0
        assert not any(alive(pid) for pid in children)
    finally:
        with suppress(ProcessLookupError):
            process.kill()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
