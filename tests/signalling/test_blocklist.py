"""Who guesses passwords is listed and shut out, in virtual time and over real sockets; nobody else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from soip.signalling import blocklist
from soip.signalling.blocklist import FIRST_SECONDS, MAX_SOURCES, MOST_SECONDS, Blocklist
from soip.signalling.flows import FlowKey
from soip.signalling.limits import Buckets, Budget
from soip.sip import headers as h
from soip.sip.digest import NonceIssuer, NonceState, Verdict, judge
from soip.sip.headers import Authorization
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually

GUESSER = "192.0.2.66"
Lines = list[MutableMapping[str, Any]]


def flow(port: int = 5060, host: str = GUESSER) -> FlowKey:
    return FlowKey("udp", host, port)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as lines:
        yield lines


def listed(held: Blocklist, now: float = 0.0, *accounts: str) -> float:
    """Guess until the source is listed; for how long its flow is shut."""
    for number in range(1000):
        if seconds := held.wrong(GUESSER, flow(), accounts[number % len(accounts)] if accounts else "cam1", now):
            return seconds
    raise AssertionError("1000 guesses and no end")


def test_a_few_wrong_passwords_list_nobody(lines: Lines) -> None:
    held = Blocklist()
    assert [held.wrong(GUESSER, flow(), "cam1", 0.0) for _ in range(15)] == [0.0] * 15
    assert held.wrong("192.0.2.1", flow(host="192.0.2.1"), "cam1", 0.0) == 0, "another source is counted apart"
    assert (len(held), lines) == (0, [])


def test_a_device_with_a_wrong_password_that_asks_each_minute_is_never_listed(lines: Lines) -> None:
    held = Blocklist()
    assert not any(held.wrong(GUESSER, flow(), "cam1", 60.0 * minute) for minute in range(10_000))
    assert lines == []


def test_one_line_when_it_begins_and_one_when_it_ends(lines: Lines) -> None:
    held = Blocklist()
    assert listed(held, 0.0, "cam1", "cam2") == FIRST_SECONDS
    (begun,) = lines
    assert begun == {
        "event": "source listed for guessing passwords",
        "log_level": "warning",
        "source": GUESSER,
        "failures": 16,
        "accounts": "cam1 8, cam2 8",
        "seconds": 60,
    }
    for number in range(1000):
        held.wrong(GUESSER, flow(number), f"guess{number}", 1.0)
    held.sweep(FIRST_SECONDS - 0.1)
    assert (len(held), len(lines)) == (1, 1), "nothing more is said while it lasts"
    held.sweep(FIRST_SECONDS)
    held.sweep(FIRST_SECONDS + 1)
    assert len(held) == 0
    ended = lines[1]
    assert (ended["event"], ended["failures"], ended["after"]) == ("source no longer listed", 1016, 60)
    assert ended["accounts"].startswith("cam1 8, cam2 8, guess0 1")
    assert ended["accounts"].endswith("others 994"), "named are a few, counted all"
    assert len(lines) == 2


def test_a_flow_of_a_listed_source_has_three_guesses() -> None:
    held = Blocklist()
    listed(held)
    assert [held.wrong(GUESSER, flow(7), "cam1", 10.0) for _ in range(3)] == [0, 0, FIRST_SECONDS - 10]
    assert held.wrong(GUESSER, flow(8), "cam1", 10.0) == 0, "the next port is somebody else, as far as we know"


def test_a_flow_of_a_listed_source_that_asks_faster_than_it_may_is_shut() -> None:
    held = Blocklist()
    listed(held)
    shut = [held.insists(GUESSER, flow(7), 10.0) for _ in range(31)]
    assert shut[:29] == [0.0] * 29
    assert shut[30] == FIRST_SECONDS - 10
    assert held.insists("192.0.2.1", flow(host="192.0.2.1"), 10.0) == 0, "who is not listed has patience without end"


def test_who_waits_as_long_as_it_was_told_is_never_shut() -> None:
    held = Blocklist()
    listed(held)
    assert not any(held.insists(GUESSER, flow(7), second) for second in range(int(FIRST_SECONDS)))


def test_who_comes_back_is_listed_for_longer_and_forgotten_in_the_end() -> None:
    held, now, lengths = Blocklist(), 0.0, []
    for _ in range(6):
        lengths.append(listed(held, now))
        now += lengths[-1]
        held.sweep(now)
    assert lengths == [60, 120, 240, 480, 900, MOST_SECONDS]
    assert listed(held, now + blocklist.FORGOTTEN_SECONDS + 1) == FIRST_SECONDS


def test_the_tables_are_bounded_and_who_is_pushed_out_is_told_off(lines: Lines) -> None:
    held = Blocklist()
    listed(held)
    for number in range(MAX_SOURCES):
        host = f"10.0.{number >> 8}.{number & 255}"
        held.wrong(host, flow(host=host), "cam1", 1.0)
    assert len(held) == 0
    assert [line["event"] for line in lines] == ["source listed for guessing passwords", "source no longer listed"]
    assert len(held._sources) == MAX_SOURCES
    held.sweep(1e6)
    held._patience = Buckets(Budget(1, 30), 100)
    listed(held, 2.0)
    for port in range(1000):
        held.wrong(GUESSER, flow(port), "x" * 64, 3.0)
    assert len(held._patience) == 100
    assert len(held._sources[GUESSER].accounts) <= blocklist.NAMED


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 100), st.booleans()), max_size=300))
def test_whatever_happens_each_line_has_its_end_and_nobody_is_shut_unlisted(
    events: list[tuple[int, int, float, bool]],
) -> None:
    held, now = Blocklist(), 0.0
    with capture_logs() as lines:
        for source, port, pause, early in events:
            now += pause
            host = f"192.0.2.{source}"
            before = host in held._listed
            if early:
                shut = held.insists(host, flow(port, host), now)
            else:
                shut = held.wrong(host, flow(port, host), "cam1", now)
            assert before or not (early and shut)
            assert shut <= MOST_SECONDS
            assert not shut or host in held._listed
            held.sweep(now)
        held.sweep(now + MOST_SECONDS)
    kinds = [line["event"] for line in lines]
    assert kinds.count("source listed for guessing passwords") == kinds.count("source no longer listed")
    assert len(held) == 0


def test_an_old_nonce_counts_for_nothing() -> None:
    """Else who had an address yesterday could have who has it today listed."""
    issuer = NonceIssuer(b"k" * 16, lifetime=300, started=-1)
    nonce = issuer.issue(0.0, GUESSER)
    params = (("username", '"cam1"'), ("nonce", f'"{nonce}"'), ("uri", '"sip:x"'), ("response", '"0"'))
    answer = Authorization("Digest", params)
    for now, source, verdict in (
        (299.0, GUESSER, Verdict.WRONG),
        (301.0, GUESSER, Verdict.STALE),
        (1.0, "192.0.2.1", Verdict.STALE),
    ):
        assert judge(answer, "REGISTER", "0" * 32, "MD5", issuer, now, source=source) is verdict
        assert issuer.is_of(nonce, source, now) is (verdict is Verdict.WRONG)
    body = issuer.open(nonce, GUESSER)
    assert body is not None
    assert issuer.use(body, 1, 301.0) is NonceState.STALE


# --- over real sockets


async def guess(peer: Peer, times: int) -> list[int]:
    """Wrong passwords one after the other, and what was answered."""
    return [(await peer.register()).status for _ in range(times)]


@pytest.fixture
async def eager(house: ServerHouse) -> ServerHouse:
    """A house that lists a source at its sixth wrong password."""
    house.role._blocklist._failures = Buckets(Budget(rate=1 / 3600, burst=5))
    return house


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_who_guesses_is_not_even_read_any_more(
    eager: ServerHouse, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guesser = await eager.peer("cam1", "guess", transport)
    elsewhere, neighbour = await eager.peer("cam2", host="127.0.0.2"), await eager.peer("cam3")
    assert await guess(guesser, 6) == [403] * 6
    if transport == "udp":
        guesser.send(guesser.request("OPTIONS", f"sip:{DOMAIN}"))

        async def passed_over() -> bool:
            return eager.role.endpoint.counters["datagrams passed over"] == 1

        await eventually(passed_over)
        assert guesser.inbox.empty()
    else:
        await asyncio.wait_for(guesser.closed.wait(), 60)
    assert (await elsewhere.register()).status == 200
    assert (await neighbour.register()).status == 200, "behind the same address, with the right password"
    said = capsys.readouterr().out
    (begun,) = [line for line in said.splitlines() if "source listed" in line]
    assert all(word in begun for word in ("source=127.0.0.1", "failures=6", "'cam1 6'", "seconds=60"))


async def test_a_registered_camera_behind_the_address_of_a_guesser_goes_on(eager: ServerHouse) -> None:
    camera, by_tcp = await eager.peer("cam1"), await eager.peer("cam2", transport="tcp")
    assert [(await peer.register()).status for peer in (camera, by_tcp)] == [200, 200]
    for number in range(4):
        guesser = await eager.peer("cam3", f"guess{number}", "tcp" if number % 2 else "udp")
        await guess(guesser, 3 if number else 6)
    assert len(eager.role._blocklist) == 1
    assert [(await peer.register()).status for peer in (camera, by_tcp)] == [200, 200]
    moved = await eager.peer("cam1")
    assert (await moved.register()).status == 200, "after a loss of power it comes by another port"


async def test_a_device_is_let_in_while_its_neighbour_has_used_up_what_strangers_may_try(eager: ServerHouse) -> None:
    """A camera that was registered from this address waits for nobody's guesses but those at its own id."""
    camera = await eager.peer("cam1", transport="tcp")
    assert (await camera.register()).status == 200
    camera.close()
    gate = eager.role._server._gate if eager.role._server else None
    assert gate is not None
    for _ in range(300):
        gate.failed("127.0.0.1", ("127.0.0.1", "somebody"), time.monotonic())
    back, new = await eager.peer("cam1", transport="tcp"), await eager.peer("cam2")
    assert (await back.register()).status == 200
    assert (await new.register()).status == 503, "who was never here waits with the others"


async def test_homes_outlive_a_restart_also_of_connections(house: ServerHouse) -> None:
    camera = await house.peer("cam1", transport="tcp")
    assert (await camera.register()).status == 200
    await house.stop()
    await house.start()
    assert house.role._location.is_home("cam1", "127.0.0.1")
    assert house.role.registered == 0


async def test_one_wrong_password_on_a_bridge_does_not_shut_its_other_cameras_out(eager: ServerHouse) -> None:
    bridge = await eager.peer("cam1")
    assert (await bridge.register()).status == 200
    bridge.id = bridge.username = "cam2"
    bridge.password = "wrong"
    assert await guess(bridge, 9) == [403] * 9
    assert len(eager.role._blocklist) == 1
    bridge.id = bridge.username = "cam1"
    bridge.password = "secret1"
    assert (await bridge.register()).status == 200


async def test_forged_guesses_list_nobody_and_shut_nobody_out(eager: ServerHouse) -> None:
    """Whoever forges a camera's address sees no challenge: with whatever nonce he guesses, nothing is counted."""
    camera, other = await eager.peer("cam1"), await eager.peer("cam2", host="127.0.0.2")
    line = 'Digest username="cam1", realm="soip.test", nonce="{}", uri="x", response="0", qop=auth, nc=1, cnonce="c"'
    asked = other.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam2@{DOMAIN}>")
    given_to_him = h.challenges((await other.ask(asked, challenged=False)).headers)[0].nonce
    elsewhere = NonceIssuer(b"somebody else's key").issue(0.0, "127.0.0.1")
    for nonce in ("x", "", elsewhere, given_to_him) * 20:
        forged = camera.request("REGISTER", f"sip:{DOMAIN}", headers=(("Authorization", line.format(nonce)),))
        assert (await camera.ask(forged, challenged=False)).status == 401
    assert len(eager.role._blocklist) == 0
    assert not eager.role._blocklist._sources
    # Also while the address is listed for somebody else's guesses, and passwords are not looked at.
    await guess(await eager.peer("cam3", "guess"), 6)
    for number in range(12):
        eager.role._server._gate.failed("127.0.0.1", ("127.0.0.1", "cam1"), time.monotonic() + number / 100)  # type: ignore[union-attr]
    for _ in range(60):
        forged = camera.request("REGISTER", f"sip:{DOMAIN}", headers=(("Authorization", line.format(elsewhere)),))
        assert (await camera.ask(forged, challenged=False)).status == 503
    assert eager.role.endpoint.counters["datagrams passed over"] == 0
    assert (await camera.ask(camera.request("OPTIONS", f"sip:{DOMAIN}"), challenged=False)).status == 401


async def test_the_end_is_told_too(eager: ServerHouse, capsys: pytest.CaptureFixture[str]) -> None:
    await guess(await eager.peer("cam1", "guess"), 6)
    found = eager.role._blocklist._sources["127.0.0.1"]
    found.until = time.monotonic()
    async with asyncio.timeout(20):
        while len(eager.role._blocklist):  # noqa: ASYNC110  # the server's own sweep brings it about
            await asyncio.sleep(0.05)
    (ended,) = [line for line in capsys.readouterr().out.splitlines() if "no longer listed" in line]
    assert all(word in ended for word in ("source=127.0.0.1", "failures=6", "'cam1 6'", "after="))
