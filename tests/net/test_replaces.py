"""INVITE with Replaces between real user agents (RFC 3891): who may, what becomes of the old call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace as changed

import pytest

from soip.net.call import Call, IncomingCall
from soip.net.errors import RequestRefusedError
from soip.net.ua import UserAgent
from soip.sip.headers import Replaces
from tests.net.helpers import QUICK, until
from tests.net.test_ua import ANSWER, BOB, OFFER, Stage, agent, stage


def naming(call: Call) -> Replaces:
    """The Replaces that names a call of ours to its other end: the tags are as seen from there."""
    return Replaces(call.dialog.id.call_id, call.dialog.id.remote_tag, call.dialog.id.local_tag)


async def take_over(by: UserAgent, replaces: Replaces | str) -> Call:
    return await by.invite(BOB, OFFER, headers=[("Replaces", str(replaces))])


async def refused(by: UserAgent, *lines: tuple[str, str]) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as caught:
        await by.invite(BOB, OFFER, headers=lines)
    return caught.value.status, caught.value.response.headers.get("Warning") or ""


@asynccontextmanager
async def with_carol() -> AsyncIterator[tuple[Stage, UserAgent]]:
    async with stage() as s:
        s.proxy.passwords["carol"] = "x"
        async with agent(s.proxy, "carol") as carol:
            await carol.register()
            yield s, carol


async def test_the_new_call_goes_on_and_the_old_one_is_hung_up() -> None:
    async with stage() as s:
        old, theirs = await s.up()
        new = await take_over(s.alice, naming(old))
        await until(lambda: old.end is not None)
        assert old.end is not None
        assert "replaced" in old.end.reason
        assert (new.end, s.answered[-1].end) == (None, None)
        assert s.incoming[-1].replaces is theirs
        assert s.bob.calls == (s.answered[-1],)


async def test_required_or_not_it_is_understood() -> None:
    async with stage() as s:
        old, _ = await s.up()
        await s.alice.invite(BOB, OFFER, headers=[("Replaces", str(naming(old))), ("Require", "replaces")])
        await until(lambda: old.end is not None)


async def test_a_call_that_is_refused_replaces_nothing() -> None:
    async with stage() as s:
        old, theirs = await s.up()

        async def busy(call: IncomingCall) -> None:
            call.reject(486)

        s.bob.on_invite(busy)
        assert (await refused(s.alice, ("Replaces", str(naming(old)))))[0] == 486
        assert (old.end, theirs.end) == (None, None)


async def test_without_an_ack_the_old_call_goes_on() -> None:
    async with stage(timers=QUICK) as s:
        old, theirs = await s.up()
        s.proxy.ack = lambda request, flow: None  # type: ignore[method-assign]  # a proxy that loses ACKs
        await take_over(s.alice, naming(old))
        await until(lambda: s.answered[-1].end is not None)
        assert (old.end, theirs.end) == (None, None)


async def test_nobody_else_takes_a_call_over() -> None:
    async with with_carol() as (s, carol):
        old, theirs = await s.up()
        status, why = await refused(carol, ("Replaces", str(naming(old))))
        assert (status, "somebody else's" in why) == (403, True)
        assert (old.end, theirs.end) == (None, None)


async def test_who_may_is_for_the_product_to_say() -> None:
    async with with_carol() as (s, carol):
        old, _ = await s.up()
        asked: list[str] = []

        async def may(call: IncomingCall) -> bool:
            asked.append(call.caller)
            return call.caller == "sip:carol@test"

        s.bob.on_replace(may)
        await take_over(carol, naming(old))
        await until(lambda: old.end is not None)
        assert asked == ["sip:carol@test"]


async def test_a_call_we_made_ourselves_is_replaced_by_nobody() -> None:
    async with stage() as s:
        calls: list[Call] = []

        async def answer(call: IncomingCall) -> None:
            calls.append(call.answer(ANSWER))

        s.alice.on_invite(answer)
        s.bob.on_invite(s.answer)
        mine = await s.bob.invite(s.alice.aor, OFFER)
        await calls[0].confirmed()
        assert (await refused(s.alice, ("Replaces", str(naming(calls[0])))))[0] == 403
        assert mine.end is None


async def test_a_dialog_nobody_has_is_481() -> None:
    async with stage() as s:
        old, _ = await s.up()
        name = naming(old)
        for other in (
            changed(name, call_id="other"),
            changed(name, to_tag=name.from_tag, from_tag=name.to_tag),
            changed(name, from_tag="other"),
        ):
            assert (await refused(s.alice, ("Replaces", str(other))))[0] == 481
        assert old.end is None


async def test_early_only_and_ended_calls() -> None:
    async with stage() as s:
        old, theirs = await s.up()
        name = naming(old)
        assert (await refused(s.alice, ("Replaces", str(changed(name, early_only=True)))))[0] == 486
        await theirs.bye()
        assert (await refused(s.alice, ("Replaces", str(name))))[0] == 481
        s.bob._remember(theirs)  # as while its BYE is under way
        assert (await refused(s.alice, ("Replaces", str(name))))[0] == 603


@pytest.mark.parametrize(
    "lines",
    [
        ["call;to-tag=a"],
        ["call;to-tag=a;to-tag=b;from-tag=c"],
        [";to-tag=a;from-tag=b"],
        ["call;to-tag;from-tag=b"],
        ["call;to-tag=a;from-tag=b", "call;to-tag=a;from-tag=b"],
        [""],
    ],
)
async def test_what_is_malformed_is_400(lines: list[str]) -> None:
    async with stage() as s:
        s.bob.on_invite(s.answer)
        assert (await refused(s.alice, *[("Replaces", line) for line in lines]))[0] == 400


async def test_replaces_anywhere_else_is_400() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        line = [("Replaces", str(naming(mine)))]
        assert (await s.alice.request("MESSAGE", BOB, b"x", headers=line)).status == 400
        assert (await mine.request("INVITE", OFFER, "application/sdp", line)).status == 400
        assert (mine.end, theirs.end) == (None, None)
