"""What of a route needs no network: who is behind it, where its dialogs lead, whose challenges are answered."""

from __future__ import annotations

from typing import Any

import pytest

from soip.config import SipRoute
from soip.net.target import Target
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import FlowKey, TrunkFlow
from soip.signalling.flowtoken import End, Path
from soip.signalling.forward import from_path
from soip.signalling.location import Location
from soip.signalling.trunk import Trunk
from soip.signalling.trust import foreign_identity
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import Uri
from tests.signalling.trunking import trunks

HERE = ("127.0.0.1", 5060)


def pbx(to: str = "sip:192.0.2.5", **more: Any) -> SipRoute:
    return SipRoute(**{"name": "pbx", "to": to, "domains": ("pbx.example",), **more})


def trunk(to: str = "sip:192.0.2.5", **more: Any) -> Trunk:
    found = trunks(pbx(to, **more)).get("pbx")
    assert found is not None
    return found


def in_dialog(uri: str, *routes: str, tag: str = ";tag=b") -> Request:
    lines = [("To", f"<sip:carl@pbx.example>{tag}"), *(("Route", f"<{route}>") for route in routes)]
    return Request("BYE", Uri.parse(uri), Headers(lines))


@pytest.mark.parametrize(
    ("to", "request_", "expected"),
    [
        ("sip:192.0.2.5", in_dialog("sip:carl@192.0.2.5:5070"), "udp:192.0.2.5:5070"),
        ("sip:192.0.2.5", in_dialog("sip:carl@10.0.0.9", "sip:192.0.2.5;transport=tcp;lr"), "tcp:192.0.2.5:5060"),
        ("sip:192.0.2.5;transport=tls", in_dialog("sip:carl@192.0.2.5;transport=tls"), "tls:192.0.2.5:5061"),
        # somebody else's address, by which we could be made to send anywhere
        ("sip:192.0.2.5", in_dialog("sip:carl@198.51.100.1"), ""),
        ("sip:192.0.2.5", in_dialog("sip:carl@192.0.2.5", "sip:198.51.100.1;lr"), ""),
        ("sip:192.0.2.5", in_dialog("sip:carl@elsewhere.example"), ""),
        ("sip:192.0.2.5", in_dialog("tel:+4912345"), ""),
        ("sip:192.0.2.5", in_dialog("sip:carl@192.0.2.5;transport=sctp"), ""),
        # in the clear, where the route is not
        ("sip:192.0.2.5;transport=tls", in_dialog("sip:carl@192.0.2.5"), ""),
        ("sips:192.0.2.5", in_dialog("sip:carl@192.0.2.5;transport=tcp"), ""),
        # no dialog yet: the Request-URI is whom the caller dialled
        ("sip:192.0.2.5", in_dialog("sip:carl@192.0.2.5", tag=""), ""),
    ],
)
def test_a_dialog_leads_to_hops_of_its_route_only(to: str, request_: Request, expected: str) -> None:
    found = trunk(to)._named(request_)
    assert (str(found) if found else "") == expected


async def test_hops_that_failed_are_tried_last() -> None:
    one = trunk("sip:192.0.2.5:5070")
    target = Target("udp", "192.0.2.5", 5070, name="192.0.2.5")
    other = Target("tcp", "192.0.2.5", 5060, name="192.0.2.5")
    one._avoid(target)
    assert [found async for found in one._targets(other)] == [other, target]
    for port in range(1, 200):
        one._avoid(Target("udp", "192.0.2.5", port))
    assert len(one._avoided) <= 32


async def test_a_route_that_leads_nowhere_says_so() -> None:
    with pytest.raises(Exception, match=r"route pbx: sips:192\.0\.2\.5;transport=udp cannot be reached"):
        await trunk("sips:192.0.2.5;transport=udp").hop(in_dialog("sip:x@198.51.100.1"))


def challenge(*realms: str, name: str = "Proxy-Authenticate") -> Response:
    return Response(407, headers=Headers([(name, f'Digest realm="{realm}", nonce="n"') for realm in realms]))


def test_challenges_of_others_are_not_answered() -> None:
    theirs = trunk(username="site", password="x", realm="pbx.example")
    assert theirs._is_for_us(challenge("pbx.example"))
    assert theirs._is_for_us(challenge("other.example", "pbx.example"))
    assert not theirs._is_for_us(challenge("other.example"))
    assert not theirs._is_for_us(challenge("other.example", name="WWW-Authenticate"))
    assert not theirs._is_for_us(Response(200))
    assert not theirs._is_for_us(Response(407, headers=Headers([("Proxy-Authenticate", "")])))
    anybody = trunk(username="site", password="x")
    assert anybody._is_for_us(challenge("other.example"))


def test_who_is_behind_a_route() -> None:
    closed = trunks(pbx())
    open_ = trunks(pbx(account="ann"), SipRoute(name="b", to="sip:192.0.2.6", domains=("b.example",), account="bob"))
    flow = Flow("tcp", HERE, ("192.0.2.5", 40000), 3)
    certified = frozenset({"b.example", "x.example"})
    found = open_.behind(flow, certified)
    assert found is not None
    assert found.name == "b"
    assert open_.behind(flow, frozenset()) is None, "an address proves nothing"
    registered = open_.get("pbx")
    assert registered is not None
    registered.flow = flow
    found = open_.behind(flow, frozenset())
    assert found is not None
    assert found.name == "pbx"
    open_.flow_closed(flow)
    assert open_.behind(flow, frozenset()) is None
    assert closed.behind(flow, frozenset({"pbx.example"})) is None, "it lets nobody in"


def test_the_end_that_is_one_flow_comes_before_a_route() -> None:
    """A phone and the PBX behind one address: what comes over the phone's own flow is the phone's."""
    book = FlowBook(Location(), lambda: 0.0, trunks(pbx("sip:127.0.0.1:5080")))
    phone = FlowKey("udp", "127.0.0.1", 6000)
    ours, theirs = End(phone, "bob"), End(TrunkFlow("pbx"), "")
    for path in (Path(ours, theirs), Path(theirs, ours)):
        assert from_path(path, phone, book) is theirs
        assert from_path(path, FlowKey("udp", "127.0.0.1", 5080), book) is ours
        assert from_path(path, FlowKey("udp", "192.0.2.1", 5080), book) is None
    gone = Path(ours, End(TrunkFlow("removed"), ""))
    assert from_path(gone, FlowKey("udp", "192.0.2.1", 5080), book) is None


@pytest.mark.parametrize(
    ("asserted", "expected"),
    [
        ("<sip:carl@pbx.example>", "sip:carl@pbx.example"),
        ('"Carl" <sip:carl:pw@pbx.example:5080;x=y>', "sip:carl@pbx.example"),
        ("<tel:+4912345>, <sip:+4912345@pbx.example>", "sip:+4912345@pbx.example"),
        ("<sip:a%0d%0ab@pbx.example>", "sip:a%0D%0Ab@pbx.example"),
        ("<sip:a%7cb@pbx.example>", "sip:a%7Cb@pbx.example"),
        ("<sip:pbx.example>", ""),
        ("<sip:carl@other.example>", ""),
        ("<sip:bob@soip.test>", ""),
        ("<tel:+4912345>", ""),
    ],
)
def test_who_another_server_says_is_calling(asserted: str, expected: str) -> None:
    request = Request("INVITE", Uri.parse("sip:bob@soip.test"), Headers([("P-Asserted-Identity", asserted)]))
    assert foreign_identity(request, pbx()) == expected


def test_a_long_name_is_cut() -> None:
    name = "x" * 1000
    request = Request(
        "INVITE", Uri.parse("sip:bob@soip.test"), Headers([("P-Asserted-Identity", f"<sip:{name}@pbx.example>")])
    )
    assert len(foreign_identity(request, pbx())) < 200
