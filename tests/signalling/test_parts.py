"""The smaller parts in virtual time: accounts, the finder, rows and bindings, whose flow a message came over."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control.manscdp import Alarm
from soip.directory.errors import UnavailableError
from soip.directory.rows import Account, AccountKind
from soip.signalling import finder as finder_module
from soip.signalling import local
from soip.signalling.accounts import AccountTable
from soip.signalling.answers import Answer, bad_extension, busy
from soip.signalling.finder import MAX_ASKING, MAX_WAITING, Finder
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import FlowKey, InstanceFlow, way_back
from soip.signalling.location import Binding, Location
from soip.signalling.memory import binding_of, restored, row_of, rows_of
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request
from soip.sip.uri import Uri
from tests.signalling.trunking import trunks

CAM = Account("nvr", AccountKind.DEVICE, {"MD5": "1"}, ("nvr-1", "nvr-2"))
MEDIA = Account("media", AccountKind.MEDIA_SERVER, {"SHA-256": "2"})
ANN = Account("ann", AccountKind.USER, {"MD5": "3"}, role="viewer")
UDP = FlowKey("udp", "10.0.0.1", 5060)
TCP = FlowKey("tcp", "10.0.0.2", 40000, 3)


def binding(aor: str, flow: FlowKey = UDP, target: FlowKey | None = None, expires: float = 60) -> Binding:
    return Binding(aor, aor, f"sip:{aor}@h", flow, target or flow, "c", 1, expires, instance="<i>", user_agent="u")


@pytest.fixture
def accounts() -> AccountTable:
    table = AccountTable()
    table.replace([CAM, MEDIA, ANN], [("media-0", "media")])
    return table


def test_ids_belong_to_their_accounts(accounts: AccountTable) -> None:
    assert accounts.owner_of("nvr-2") == CAM
    assert accounts.owner_of("media-0") == MEDIA
    assert accounts.owner_of("ann") == ANN
    assert accounts.owner_of("nobody") is None
    assert accounts.kind("ann") is AccountKind.USER
    assert accounts.kind("nvr-1") is None
    assert accounts.device_of("nvr-1") == "nvr"
    assert accounts.server_of("media-0") == "media"
    assert len(accounts) == 3


def test_what_changes_is_told(accounts: AccountTable) -> None:
    changed = Account("ann", AccountKind.USER, {"MD5": "other"}, role="viewer")
    assert accounts.replace([CAM, changed], []) == {"ann", "media"}
    assert not accounts.knows("media-0")
    promoted = Account("ann", AccountKind.USER, {"MD5": "other"}, role="admin")
    assert accounts.replace([CAM, promoted], []) == set(), "a new role does not end a registration"


def message(text: str = "", source: str = "nvr-1", kind: str = "", method: str = "MESSAGE") -> Request:
    lines = [("From", f"<sip:{source}@d>;tag=1"), ("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1")]
    if kind:
        lines.append(("Content-Type", kind))
    return Request(method, Uri.parse("sip:d"), Headers(lines), text.encode())


def test_a_flow_speaks_for_its_own_device_only(accounts: AccountTable) -> None:
    bound = {"nvr"}.__contains__
    assert local.speaks_for(message(), bound, accounts) == "nvr"
    assert local.speaks_for(message(source="ann"), bound, accounts) == ""
    assert local.speaks_for(message(source="nobody"), bound, accounts) == ""
    assert local.speaks_for(message(), set[str]().__contains__, accounts) == ""


@pytest.mark.parametrize(
    ("request_", "registered", "status"),
    [
        (message(), True, 200),
        (message(), False, 403),
        (message("<Notify><CmdType>Keepalive</CmdType></Notify>", kind="Application/MANSCDP+xml"), True, 200),
        (message("<CmdType>Keepalive</CmdType>", kind="Application/MANSCDP+xml"), True, 488),
        (message("<Notify><CmdType>Catalog</CmdType></Notify>", kind="Application/MANSCDP+xml"), True, 488),
        (message("no XML", kind="Application/MANSCDP+xml"), True, 488),
        (message("hi", kind="text/plain"), True, 415),
        (message(method="OPTIONS"), True, 200),
        (message(method="PUBLISH"), True, 405),
    ],
)
def test_answers_of_the_server_itself(request_: Request, registered: bool, status: int) -> None:
    answer = local.answer(request_, registered=registered)
    assert isinstance(answer, Answer)
    assert answer.status == status


def test_what_a_device_tells_the_server_itself() -> None:
    mine = "Application/MANSCDP+xml"
    told = "<Notify><CmdType>{}</CmdType><SN>1</SN><DeviceID>nvr-1</DeviceID></Notify>"
    assert local.is_notice(message("<", kind=mine))
    assert not local.is_notice(message("<", kind="text/plain"))
    assert not local.is_notice(message("<", kind=mine, method="INFO"))
    alarm = message(told.format("Alarm"), kind=mine)
    for registered in (True, False):
        assert local.answer(alarm, registered=registered) == Alarm("nvr-1", 1, "")
    alarm.headers.add("Require", "a")
    assert local.answer(alarm, registered=True) == bad_extension(["a"])


def test_answers_explain_themselves() -> None:
    assert busy("later", 7).lines("soip.test") == (("Retry-After", "7"), ("Warning", '399 soip.test "later"'))
    assert ("Unsupported", "a, b") in bad_extension(["a", "b"]).lines("x")
    assert Answer(200).lines("x") == ()
    assert Answer(404, "there is no \r\n\x00\udcff here").lines("x") == (("Warning", '399 x "there is no ???? here"'),)


async def test_an_unknown_id_is_asked_for_once(accounts: AccountTable) -> None:
    now, asked = [0.0], list[str]()

    async def lookup(identity: str) -> Account | None:
        asked.append(identity)
        await asyncio.sleep(0)
        return Account("new", AccountKind.USER, {}) if identity == "new" else None

    finder = Finder(accounts, lookup, lambda: now[0])
    await asyncio.gather(*(finder.find("ghost") for _ in range(5)))
    await finder.find("ghost")
    assert asked == ["ghost"]
    now[0] = 1.1
    await finder.find("ghost")
    finder.forget_misses()
    await finder.find("ghost")
    assert asked == ["ghost"] * 3
    await finder.find("new")
    await finder.find("new")
    assert accounts.kind("new") is AccountKind.USER
    for known in ("nvr-1", "media-0", "ann", "", "x" * 65, "\udcff", "a b", "é"):
        await finder.find(known)
    assert asked == ["ghost"] * 3 + ["new"]


async def test_lookups_are_bounded_and_so_are_the_misses(
    accounts: AccountTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder_module, "MAX_MISSES", 10)
    asked = list[str]()

    async def lookup(identity: str) -> Account | None:
        asked.append(identity)
        return None

    finder = Finder(accounts, lookup, lambda: 0.0)
    for n in range(1000):
        await finder.find(f"g{n}")
    assert len(asked) == 200
    assert len(finder._misses) == 10


async def test_a_directory_that_is_away_is_told_to_everyone_who_waits(accounts: AccountTable) -> None:
    async def lookup(identity: str) -> Account | None:
        raise UnavailableError("locked")

    finder = Finder(accounts, lookup, lambda: 0.0)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await finder.find("ghost")
    await finder.close()


async def test_an_account_looked_up_while_all_are_read_is_not_taken_for_removed(accounts: AccountTable) -> None:
    fresh = Account("fresh", AccountKind.DEVICE, {}, ("fresh",))

    async def lookup(identity: str) -> Account | None:
        return fresh

    finder = Finder(accounts, lookup, lambda: 0.0)
    async with finder.filling:
        older = [CAM, ANN]  # read before `fresh` was added
        finding = asyncio.ensure_future(finder.find("fresh"))
        await asyncio.sleep(0.01)
        assert accounts.replace(older, []) == {"media"}
    await finding
    assert accounts.get("fresh") == fresh
    async with finder.filling:
        finding = asyncio.ensure_future(finder.find("ghost"))
        await asyncio.sleep(0.01)
        accounts.add(Account("ghost", AccountKind.USER, {}))
    await finding
    assert accounts.kind("ghost") is AccountKind.USER, "what was read meanwhile is not asked for again"


async def test_no_more_requests_wait_for_the_directory_than_may() -> None:
    asked, answered = 0, asyncio.Event()

    async def lookup(_: str) -> Account | None:
        nonlocal asked
        asked += 1
        await answered.wait()
        return None

    finder = Finder(AccountTable(), lookup, lambda: 0.0)
    waiting = [asyncio.ensure_future(finder.find(f"guess{number % 3}")) for number in range(MAX_WAITING + 100)]
    await asyncio.sleep(0)
    assert finder.is_settled("anybody"), "who comes now is judged by what is known"
    answered.set()
    await asyncio.gather(*waiting)
    answered.clear()
    assert asked == 3
    waiting = [asyncio.ensure_future(finder.find(f"other{number}")) for number in range(100)]
    await asyncio.sleep(0)
    assert finder.is_settled("anybody"), "so many ids are asked for already"
    assert not finder.is_settled("other0"), "whose answer is on its way is waited for"
    answered.set()
    await asyncio.gather(*waiting)
    assert asked == 3 + MAX_ASKING
    assert not finder.is_settled("anybody")


@given(st.floats(0.001, 3600), st.floats(0, 1e6), st.integers(0, 2**50), st.integers(0, 10_000_000))
def test_a_binding_comes_back_with_the_time_it_has_left(left: float, now: float, now_us: int, away_us: int) -> None:
    row = row_of(binding("cam1", expires=now + left), now, now_us)
    later = 55.0
    back = binding_of(row, later, now_us + away_us, 3600)
    if left * 1e6 - away_us <= 0:
        assert back is None
    elif back is not None:
        assert back.expires_at - later == pytest.approx(left - away_us / 1e6, abs=1e-3)
        assert (back.aor, back.flow, back.target, back.instance, back.user_agent) == ("cam1", UDP, UDP, "<i>", "u")


def test_a_binding_is_dated_when_it_was_made_and_not_when_it_was_written() -> None:
    made = replace(binding("cam1", expires=65.0), registered_at=2.0, q=0.3, path=("<sip:a;lr>", '"b, c" <sip:d;lr>'))
    row = row_of(made, 5.0, 10_000_000)
    assert (row.registered_us, row.expires_us) == (7_000_000, 70_000_000)
    back = binding_of(row, 100.0, 11_000_000, 3600)
    assert back is not None
    assert (back.registered_at, back.expires_at) == (96.0, 159.0)
    assert (back.path, back.q) == (made.path, 0.3)
    assert binding_of(replace(row, path='"broken, x'), 100.0, 11_000_000, 3600) is None


def test_a_wall_clock_set_back_makes_nothing_last_longer() -> None:
    row = row_of(binding("cam1", expires=3600), 0, 10**15)
    back = binding_of(row, 0, 0, 3600)
    assert back is not None
    assert back.expires_at == 3600


def test_restored_in_the_order_of_registering() -> None:
    rows = [row_of(binding(name), 0, at) for name, at in (("b", 2), ("a", 1), ("c", 3))]
    rows.append(row_of(binding("t", TCP), 0, 4))
    good, void = restored(rows, 0, 5, 3600)
    assert [b.aor for b in good] == ["a", "b", "c"]
    assert [row.aor for row in void] == ["t"]


def test_changes_become_rows() -> None:
    table = Location()
    for each in [binding("a"), binding("b")]:
        table.register([each], 0)
    table.take_changes()
    table.register([binding("c")], 0)
    table.clear("a", "z", 1, 0)
    saved, gone = rows_of(table.take_changes(), 0, 0)
    assert ([row.aor for row in saved], [row.aor for row in gone]) == (["c"], ["a"])


def test_ways_become_flows() -> None:
    location = Location()
    book = FlowBook(location, lambda: 0.0, trunks())
    flow = Flow("tcp", ("10.0.0.9", 5060), ("10.0.0.2", 40000), 3)
    book.seen(flow)
    for each in [binding("media-0", TCP), binding("cam1", UDP, FlowKey("udp", "10.0.0.1", 5070))]:
        location.register([each], 0)
    instance = InstanceFlow("media-0")
    assert book.resolve(instance) is flow
    assert book.resolve(InstanceFlow("media-9")) is None
    assert book.name(TCP, "media-0", lambda aor: aor == "media-0") == instance
    assert book.name(TCP, "cam1", lambda aor: aor == "media-0") == TCP
    assert book.name(UDP, "cam1", lambda aor: aor == "media-0") == UDP
    assert book.matches(instance, TCP)
    assert not book.matches(instance, UDP)
    assert book.matches(UDP, UDP)
    assert book.matches(FlowKey("udp", "10.0.0.1", 5070), UDP), "one device, sending from another port"
    assert not book.matches(UDP, FlowKey("udp", "10.0.0.1", 9))
    book.closed(flow)
    assert book.resolve(instance) is None


def test_where_a_sender_is_reached() -> None:
    here = Flow("udp", ("10.0.0.9", 5060), ("10.0.0.1", 33333))
    assert way_back(message(), here) == FlowKey("udp", "10.0.0.1", 5070)
    translated = Flow("udp", ("10.0.0.9", 5060), ("192.0.2.1", 33333))
    assert way_back(message(), translated) == FlowKey("udp", "192.0.2.1", 33333)
    stream = Flow("tcp", ("10.0.0.9", 5060), ("10.0.0.1", 33333), 4)
    assert way_back(message(), stream) == FlowKey("tcp", "10.0.0.1", 33333, 4)
