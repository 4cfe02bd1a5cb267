"""`soip trace`: the list, the ladder at 80 columns and in a pipe, JSON, and what comes while one looks on."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from soip.commands.ladder import Drawing, draw
from soip.config import Settings
from soip.directory.directory import Directory
from soip.directory.rows import CallTraceRow
from soip.sip.reply import make_response
from soip.web.calls import ladder
from soip.web.models import LadderView, MessageView
from tests.signalling.wire import ANN, CAM, MEDIA, SDP, Site, refusal, request
from tests.test_cli import Soip, bare_environment, data, failed, in_directory, soip

__all__ = ["bare_environment", "data", "soip"]

LADDER = """\
call t1, 2026-11-20T11:00:00.000Z: ann → cam1
ann hung up: seen enough

      ms      ann                      SIP server                      cam1
     0.0       │─ INVITE cam1 ─────────────▶│                            │
               │ SDP: video H264 20000 recvonly                          │
     1.0       │◀────────────── 100 Trying ─│                            │
     2.0       │                            │─ INVITE cam1 ─────────────▶│
               │                            │ SDP: video H264 20000 recvonly
     3.0       │                            │◀───────────── 180 Ringing ─│
     4.0       │◀───────────── 180 Ringing ─│                            │
     5.0       │                            │◀─────────────── 200 OK ×3 ─│
     6.0       │◀────────────────── 200 OK ─│                            │
     7.0       │─ ACK ─────────────────────▶│                            │
     8.0       │                            │─ ACK ─────────────────────▶│
  1511.0       │─ BYE ─────────────────────▶│                            │
               │ Reason: SIP;cause=200;text="seen enough"                │
"""

FAILED = """\
call t2, 2026-11-20T11:00:01.512Z: media-0 → cam2
cannot be reached: camera cam2 is not registered (480 from the SIP server)
Check its power, its network, and that it registers at this server with the right password.

      ms    media-0                                                 SIP server
     0.0       │─ INVITE sip:cam2@soip.test ────────────────────────────▶│
     1.0       │◀────────────────────────── 480 Temporarily Unavailable ─│
               │ Warning: camera cam2 is not registered                  │
"""


def _rows() -> list[CallTraceRow]:
    site = Site()
    invite = site.established()
    for _ in range(2):
        site.ladder.received(make_response(invite, 200, to_tag="b"), CAM)
    site.clock.pass_ms(1502)
    site.gets(request("BYE", cseq=2, to_tag="b", headers=(("Reason", 'SIP;cause=200;text="seen enough"'),)), ANN)
    lost = request("INVITE", call_id="c2", sender="media-0", uri="sip:cam2@soip.test")
    site.proves(lost, MEDIA, "media-0")
    site.sends(refusal(lost, 480, "camera cam2 is not registered"), MEDIA)
    return site.rows()


@pytest.fixture
def traced(data: Path) -> Path:
    """A data directory with two calls."""
    in_directory(data, lambda directory: directory.save(*_rows()))
    return data


def test_the_list_is_a_table_with_the_newest_at_the_end(soip: Soip, traced: Path) -> None:
    result = soip("trace")
    assert (result.code, result.err) == (0, "")
    rows = [" ".join(line.split()) for line in result.out.splitlines() if "→" in line and "whom" not in line]
    lost = "cannot be reached: camera cam2 is not registered (480 from the SIP server)"
    assert rows[0] == "2026-11-20T11:00:00Z t1 ann → cam1 1.5 ann hung up: seen enough"
    assert rows[1] == f"2026-11-20T11:00:01Z t2 media-0 → cam2 0.0 {lost}"
    assert len(rows) == 2


def test_the_list_of_a_camera_and_of_the_last(soip: Soip, traced: Path) -> None:
    assert [call["id"] for call in soip("trace", "--json").json] == ["t2", "t1"]
    assert [call["id"] for call in soip("trace", "--camera", "cam1", "--json").json] == ["t1"]
    assert [call["id"] for call in soip("trace", "--last", "1", "--json").json] == ["t2"]
    assert "no calls yet" in soip("trace", "--camera", "cam9").out


def test_a_call_in_a_pipe_is_plain(soip: Soip, traced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for identity, golden in (("t1", LADDER), ("t2", FAILED)):
        assert soip("trace", identity).out == golden
    assert max(map(len, (LADDER + FAILED).splitlines())) <= 92  # but for the hint, which a terminal wraps


def test_a_call_as_json_is_what_the_api_says(soip: Soip, traced: Path) -> None:
    told = soip("trace", "t2", "--json").json
    assert (told["id"], told["verdict"]["code"]) == ("t2", "unreachable")
    assert [(m["from"], m["to"], m["line"]) for m in told["messages"]] == [
        (0, 1, "INVITE sip:cam2@soip.test"),
        (1, 0, "480 Temporarily Unavailable"),
    ]


def test_mistakes_are_told(soip: Soip, traced: Path) -> None:
    failed(soip("trace", "none"), 1, "there is no call 'none'", "soip trace")
    failed(soip("trace", "none", "--follow"), 1, "there is no call 'none'")
    failed(soip("trace", "--last", "0"), 2, "--last")
    failed(soip("trace", "--last", "1001"), 2, "--last")


# --- on a terminal


def _on_terminal(folder: Path, *arguments: str) -> str:
    """What `soip trace` shows on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "soip", "trace", *arguments, "--data", str(folder)]
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(leader)
    return shown.decode().replace("\r\n", "\n")


def _plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_on_a_terminal_there_are_colours_and_sentences_are_wrapped(traced: Path) -> None:
    listed = _on_terminal(traced)
    assert "\x1b[" in listed
    assert all(cell_len(line) <= 80 for line in _plain(listed).splitlines()), listed
    assert "the SIP server)" in _plain(listed)
    drawn = _on_terminal(traced, "t1")
    assert "\x1b[32m" in drawn
    assert _plain(drawn) == LADDER


# --- drawing


def view_of(*rows: CallTraceRow) -> LadderView:
    found = ladder(rows[0].id, rows)
    assert found is not None
    return found


def test_the_drawing_uses_the_width_there_is() -> None:
    view = view_of(_rows()[0])
    for width in range(60, 200, 7):
        lines = [text.plain for text in draw(view, width)]
        assert max(map(cell_len, lines)) <= min(width, 120)
        assert sum("▶│" in line or "│◀" in line for line in lines) == 10


def test_too_many_participants_for_the_width_are_lines_of_text() -> None:
    site = Site()
    invite = request("INVITE", uri="sip:bob@soip.test", body=SDP)
    site.proves(invite, ANN, "ann")
    for number in range(8):
        flow = type(CAM)("udp", CAM.local, (f"192.0.2.{100 + number}", 5060))
        site.forwards(invite, flow, f"phone-{number}")
    view = view_of(*site.rows())
    drawn = [text.plain for text in draw(view, 80)]
    assert "     1.0 SIP server → phone-0: INVITE sip:bob@soip.test" in drawn
    assert not any("▶" in line for line in drawn)
    assert any("▶" in text.plain for text in draw(view_of(*_rows()[:1]), 80))


def test_left_out_and_long_calls_are_told() -> None:
    site = Site()
    site.established()
    for cseq in range(2, 400):
        site.clock.pass_ms(30_000)
        site.gets(request("OPTIONS", cseq=cseq, to_tag="b"), ANN)
    drawn = [text.plain for text in draw(view_of(*site.rows()), 80)]
    assert drawn[-1] == "… and 307 more messages between, which were not kept"
    assert any(line.startswith(" 11940 s ") for line in drawn)


_LINES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=120)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), _LINES, _LINES), max_size=8), st.integers(20, 160))
def test_whatever_is_said_stays_in_its_width(said: list[tuple[int, int, str, str]], width: int) -> None:
    view = view_of(_rows()[0]).model_copy(
        update={
            "participants": [*view_of(_rows()[0]).participants, view_of(_rows()[1]).participants[0]],
            "messages": [
                MessageView(at=1.0, sender=a, receiver=b, line=line, cseq="", facts=[fact], again=2)
                for a, b, line, fact in said
            ],
        }
    )
    drawing = Drawing(view, width)
    for message in view.messages:
        for text in drawing.message(message):
            if drawing.drawn and message.sender != message.receiver:
                assert cell_len(text.plain) <= max(40, width)


# --- following


@pytest.fixture
def following(traced: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def _follow(traced: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "soip", "trace", "--follow", *arguments, "--data", str(traced)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def _lines(process: subprocess.Popen[bytes], count: int, within: float = 60.0) -> list[str]:
    """So many lines, as they come."""
    assert process.stdout
    said = b""
    deadline = time.monotonic() + within
    while said.count(b"\n") < count:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, said
        part = os.read(process.stdout.fileno(), 65536)
        assert part, said
        said += part
    return said.decode().splitlines()


def test_one_call_is_followed_as_it_grows(traced: Path, following: list[subprocess.Popen[bytes]]) -> None:
    process = _follow(traced, "t2")
    following.append(process)
    shown = _lines(process, 6)
    assert shown == [*FAILED.splitlines()[4:], *FAILED.splitlines()[1:3]]


def test_all_calls_are_followed_line_by_line(traced: Path, following: list[subprocess.Popen[bytes]]) -> None:
    process = _follow(traced, "--json", "--camera", "bob")
    following.append(process)
    site = Site()
    invite = request("INVITE", call_id="c9", uri="sip:bob@soip.test")
    site.clock.pass_ms(60_000)
    site.proves(invite, ANN, "ann")

    async def save_until_seen() -> list[str]:
        """Saved again and again, since nobody tells when the follower has begun: what was there before is not told."""
        async with await Directory.open(Settings.load(data=traced).database_url) as directory:
            reading = asyncio.create_task(asyncio.to_thread(_lines, process, 1))
            number = 0
            while not reading.done():
                number += 1
                site.gets(request("INFO", call_id="c9", cseq=number, to_tag="b"), ANN)
                await directory.save(*site.rows())
                await asyncio.wait([reading], timeout=0.3)
            return await reading

    line = asyncio.run(save_until_seen())[0]
    told = json.loads(line)
    assert (told["from"], told["to"]) == ("ann", "SIP server")
    assert told["line"] in ("INFO", "INVITE sip:bob@soip.test")
    assert told["time"].startswith("2026-11-20T11:01:00")
