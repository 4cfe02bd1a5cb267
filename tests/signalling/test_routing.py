"""The routing table of `routing.py`, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from soip.config import SipRoute
from soip.directory.rows import AccountKind
from soip.policy.access import Permission
from soip.policy.dialplan import matches
from soip.signalling.flows import FlowKey, InstanceFlow, TrunkFlow
from soip.signalling.location import Binding
from soip.signalling.routing import Caller, Forward, Leg, Refuse, Verdict, permission_for, route
from soip.sip.locate import is_literal
from soip.sip.uri import Uri

CAM_FLOW = FlowKey("udp", "10.0.0.1", 5060)
SERVER = Caller("media", AccountKind.MEDIA_SERVER, "media-0")
VIEWER = Caller("ann", AccountKind.USER, "ann", "viewer")
OPERATOR = Caller("bob", AccountKind.USER, "bob", "operator")
NOBODY = Caller("eve", AccountKind.USER, "eve", None)
CAMERA = Caller("dev2", AccountKind.DEVICE, "dev2")


def bound(
    aor: str, contact: str, flow: FlowKey = CAM_FLOW, *, q: float = 1.0, instance: str = "", reg_id: int = 0
) -> Binding:
    return Binding(aor, aor, contact, flow, flow, "c", 1, 60, instance, reg_id, q=q)


@dataclass
class FakeTables:
    kinds: dict[str, AccountKind]
    cameras: dict[str, str]
    workers: Mapping[str, str] = field(default_factory=lambda: {"media-0": "media", "media-1": "media"})
    held: dict[str, list[Binding]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=lambda: {"cam1": "media-1", "nvr-1": "media-0"})
    routes: list[SipRoute] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def kind(self, account: str) -> AccountKind | None:
        return self.kinds.get(account)

    def device_of(self, camera: str) -> str | None:
        return self.cameras.get(camera)

    def instances(self) -> Mapping[str, str]:
        return self.workers

    def home(self, camera: str) -> str | None:
        return self.homes.get(camera)

    def bindings(self, aor: str) -> Sequence[Binding]:
        return self.held.get(aor, [])

    def route_to_domain(self, domain: str) -> SipRoute | None:
        return next((route for route in self.routes if domain in route.domains), None)

    def route_to_number(self, user: str) -> SipRoute | None:
        return next((r for r in self.routes if any(matches(pattern, user) for pattern in r.numbers)), None)

    def is_down(self, route: SipRoute) -> bool:
        return route.name in self.down

    def is_ours(self, host: str) -> bool:
        return host == "soip.local" or is_literal(host)


@pytest.fixture
def tables() -> FakeTables:
    return FakeTables(
        kinds={
            "cam1": AccountKind.DEVICE,
            "nvr": AccountKind.DEVICE,
            "ann": AccountKind.USER,
            "bob": AccountKind.USER,
            "media": AccountKind.MEDIA_SERVER,
        },
        cameras={"cam1": "cam1", "nvr-1": "nvr", "nvr-2": "nvr"},
        held={
            "cam1": [bound("cam1", "sip:cam1@10.0.0.1:5060"), bound("cam1", "sip:old@10.0.0.7")],
            "nvr": [bound("nvr", "sip:nvr@10.0.0.3:5062;transport=udp")],
            "media-0": [bound("media-0", "sip:media-0@soip.local;gr")],
            "media-1": [bound("media-1", "sip:media-1@soip.local;gr")],
            "ann": [bound("ann", "sip:ann@10.1.1.1"), bound("ann", "sip:ann@10.1.1.2")],
        },
    )


def ask(tables: FakeTables, caller: Caller, uri: str, method: str = "INVITE") -> Verdict:
    return route(caller, method, Uri.parse(uri), tables)


def test_a_media_server_reaches_the_camera_itself_by_its_latest_contact(tables: FakeTables) -> None:
    assert ask(tables, SERVER, "sip:cam1@soip.local") == Forward((Leg(CAM_FLOW, "sip:cam1@10.0.0.1:5060", "cam1"),))


def test_the_host_part_does_not_matter(tables: FakeTables) -> None:
    assert ask(tables, SERVER, "sip:cam1@192.168.7.7:5070") == ask(tables, SERVER, "sip:cam1@soip.local")


def test_a_camera_of_a_device_is_called_at_the_device_by_its_own_name(tables: FakeTables) -> None:
    verdict = ask(tables, SERVER, "sip:nvr-2@soip.local")
    assert verdict == Forward((Leg(CAM_FLOW, "sip:nvr-2@10.0.0.3:5062;transport=udp", "nvr-2"),))


def test_what_stands_behind_the_id_reaches_the_camera(tables: FakeTables) -> None:
    verdict = ask(tables, SERVER, "sip:cam1;stream=sub@soip.local")
    assert verdict == Forward((Leg(CAM_FLOW, "sip:cam1;stream=sub@10.0.0.1:5060", "cam1"),))


def test_a_person_is_led_to_the_media_server_with_the_address_unchanged(tables: FakeTables) -> None:
    uri = "sip:cam1;start=20261120T100000Z;stop=20261120T101000Z@soip.local"
    assert ask(tables, VIEWER, uri) == Forward((Leg(InstanceFlow("media-1"), uri, "cam1"),))
    assert ask(tables, VIEWER, "sip:cam1@1.2.3.4") == Forward(
        (Leg(InstanceFlow("media-1"), "sip:cam1@1.2.3.4", "cam1"),)
    )


def test_a_home_that_is_not_connected_is_waited_for(tables: FakeTables) -> None:
    del tables.held["media-1"]
    verdict = ask(tables, VIEWER, "sip:cam1@soip.local")
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.retry_after) == (503, 3)
    assert "media-1" in verdict.text


def test_a_camera_that_has_no_home_yet_soon_has(tables: FakeTables) -> None:
    tables.homes.clear()
    verdict = ask(tables, VIEWER, "sip:cam1@soip.local")
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.retry_after) == (503, 3)


@pytest.mark.parametrize(
    ("caller", "uri", "method", "status"),
    [
        (NOBODY, "sip:cam1@d", "INVITE", 403),
        (NOBODY, "sip:cam1;start=20261120T100000Z@d", "INVITE", 403),
        (VIEWER, "sip:cam1@d", "MESSAGE", 403),
        (CAMERA, "sip:cam1@d", "INVITE", 403),
        (CAMERA, "sip:nvr-1@d", "MESSAGE", 403),
        (VIEWER, "sip:nvr@d", "INVITE", 404),
        (VIEWER, "sip:media@d", "INVITE", 404),
        (VIEWER, "sip:media-0@d", "INVITE", 403),
        (VIEWER, "sip:nobody@d", "INVITE", 404),
        (SERVER, "sip:nobody@d", "INVITE", 404),
        (VIEWER, "sip:bob@d", "INVITE", 480),
        (VIEWER, "tel:+123", "INVITE", 416),
        (VIEWER, "sips:cam1@soip.local", "INVITE", 416),
        (VIEWER, "sip:cam1;start=1;start=2@d", "INVITE", 400),
    ],
)
def test_refusals(tables: FakeTables, caller: Caller, uri: str, method: str, status: int) -> None:
    verdict = ask(tables, caller, uri, method)
    assert isinstance(verdict, Refuse)
    assert verdict.status == status
    assert verdict.text


def test_a_camera_that_is_not_registered_is_named(tables: FakeTables) -> None:
    tables.held.clear()
    for uri in ("sip:cam1@d", "sip:nvr-1@d"):
        verdict = ask(tables, SERVER, uri)
        assert isinstance(verdict, Refuse)
        assert verdict.status == 480
        assert "not registered" in verdict.text


def test_a_person_is_called_at_all_contacts(tables: FakeTables) -> None:
    verdict = ask(tables, CAMERA, "sip:ann@d")
    assert verdict == Forward((Leg(CAM_FLOW, "sip:ann@10.1.1.1", "ann"), Leg(CAM_FLOW, "sip:ann@10.1.1.2", "ann")))


def test_contacts_are_called_in_the_order_of_their_q(tables: FakeTables) -> None:
    """RFC 3261 §16.6: those that are preferred first, equals at once, the one refreshed last before the others."""
    written = (("a", 0.5), ("b", 1.0), ("c", 0.5), ("d", 0.0), ("e", 1.0))
    tables.held["ann"] = [bound("ann", f"sip:{name}@h", q=q) for name, q in written]
    verdict = ask(tables, CAMERA, "sip:ann@d")
    assert isinstance(verdict, Forward)
    assert [[leg.uri for leg in group] for group in verdict.groups] == [
        ["sip:b@h", "sip:e@h"],
        ["sip:a@h", "sip:c@h"],
        ["sip:d@h"],
    ]


def test_a_camera_is_called_at_the_contact_it_prefers(tables: FakeTables) -> None:
    tables.held["cam1"] = [bound("cam1", "sip:late@h", q=0.1), bound("cam1", "sip:early@h", q=0.9)]
    verdict = ask(tables, SERVER, "sip:cam1@d")
    assert isinstance(verdict, Forward)
    assert [leg.uri for leg in verdict.legs] == ["sip:early@h"]


def test_a_device_with_several_flows_is_called_over_one_of_them(tables: FakeTables) -> None:
    """RFC 5626 §5.3: contacts of one instance are one device."""
    tables.held["ann"] = [
        bound("ann", "sip:desk@h1", instance="<urn:uuid:1>", reg_id=2, q=0.5),
        bound("ann", "sip:mobile@h", instance="<urn:uuid:2>", reg_id=1, q=0.5),
        bound("ann", "sip:desk@h2", instance="<urn:uuid:1>", reg_id=1),
        bound("ann", "sip:old@h", q=0.5),
    ]
    verdict = ask(tables, CAMERA, "sip:ann@d")
    assert isinstance(verdict, Forward)
    assert [[leg.uri for leg in group] for group in verdict.groups] == [["sip:desk@h2"], ["sip:mobile@h", "sip:old@h"]]
    assert [leg.others for leg in verdict.legs] == [(), (), ()], "all by one way"


def test_the_other_flows_of_a_device_are_known_and_in_order(tables: FakeTables) -> None:
    ways = [FlowKey("tcp", "10.0.0.1", 5060, number) for number in range(4)]
    device = "<urn:uuid:1>"
    flows = [bound("cam1", f"sip:cam1@h{n}", ways[n], instance=device, reg_id=n, q=(1, 0.5, 1, 1)[n]) for n in range(4)]
    behind = replace(flows[3], target=ways[2], path=("<sip:edge;lr>",))
    tables.held["cam1"] = [*flows[:3], behind, bound("cam1", "sip:cam1@past", FlowKey("udp", "10.0.0.2", 5060))]
    verdict = ask(tables, SERVER, "sip:cam1@d")
    assert isinstance(verdict, Forward)
    (leg,) = verdict.legs
    assert leg.uri == "sip:cam1@h0"
    assert [(one.uri, one.way, one.routes) for one in leg.others] == [
        ("sip:cam1@h2", ways[2], ()),
        ("sip:cam1@h3", ways[2], ("<sip:edge;lr>",)),
        ("sip:cam1@h1", ways[1], ()),
    ]
    assert {one.identity for one in leg.others} == {"cam1"}


def test_no_more_are_called_than_may_be(tables: FakeTables) -> None:
    tables.held["ann"] = [bound("ann", f"sip:{n}@h", q=n / 100) for n in range(20)]
    verdict = ask(tables, CAMERA, "sip:ann@d")
    assert isinstance(verdict, Forward)
    assert [leg.uri for leg in verdict.legs] == [f"sip:{n}@h" for n in range(19, 11, -1)]


def test_media_servers_reach_each_other_and_devices(tables: FakeTables) -> None:
    assert ask(tables, SERVER, "sip:media-1@d") == Forward((Leg(InstanceFlow("media-1"), "sip:media-1@d", "media-1"),))
    assert ask(tables, SERVER, "sip:nvr@d") == Forward((Leg(CAM_FLOW, "sip:nvr@10.0.0.3:5062;transport=udp", "nvr"),))


def test_a_media_server_is_called_by_people_only_to_take_the_place_of_a_call(tables: FakeTables) -> None:
    uri = Uri.parse("sip:media-1@d")
    leg = Leg(InstanceFlow("media-1"), "sip:media-1@d", "media-1")
    for caller, verdict in ((VIEWER, Forward((leg,))), (SERVER, Forward((leg,)))):
        assert route(caller, "INVITE", uri, tables, replaces=True) == verdict
    for caller, replaces in ((VIEWER, False), (OPERATOR, False), (CAMERA, True)):
        refused = route(caller, "INVITE", uri, tables, replaces=replaces)
        assert isinstance(refused, Refuse)
        assert refused.status == 403


def test_rights_by_what_is_asked() -> None:
    assert permission_for("INVITE", recorded=False) is Permission.WATCH
    assert permission_for("INVITE", recorded=True) is Permission.PLAYBACK
    assert permission_for("MESSAGE", recorded=True) is Permission.CONTROL
    assert isinstance(OPERATOR, Caller)


PBX = SipRoute(name="pbx", to="sip:192.0.2.5", domains=("pbx.example",), numbers=("0*", "2xx"))
DOORS = SipRoute(name="doors", to="sip:192.0.2.6", numbers=("112",), roles=("device", "viewer"))


@pytest.fixture
def abroad(tables: FakeTables) -> FakeTables:
    """With two routes to other servers; nobody here has a number, but for one."""
    tables.routes += [PBX, DOORS]
    tables.kinds["200"] = AccountKind.USER
    tables.held["200"] = [bound("200", "sip:200@10.1.1.5")]
    return tables


@pytest.mark.parametrize(
    ("dialled", "route", "uri"),
    [
        ("sip:carl@pbx.example", "pbx", "sip:carl@pbx.example"),
        ("sip:carl@pbx.example:5070;user=phone", "pbx", "sip:carl@pbx.example:5070;user=phone"),
        ("sip:ann@pbx.example", "pbx", "sip:ann@pbx.example"),
        ("sip:00491234@soip.local", "pbx", "sip:00491234@pbx.example"),
        ("sip:217@soip.local;transport=tcp", "pbx", "sip:217@pbx.example"),
    ],
)
def test_other_domains_and_numbers_leave_by_their_route(abroad: FakeTables, dialled: str, route: str, uri: str) -> None:
    assert ask(abroad, OPERATOR, dialled) == Forward((Leg(TrunkFlow(route), uri, ""),))


def test_a_number_that_somebody_here_has_stays_here(abroad: FakeTables) -> None:
    verdict = ask(abroad, OPERATOR, "sip:200@soip.local")
    assert isinstance(verdict, Forward)
    assert verdict.legs[0].uri == "sip:200@10.1.1.5"


@pytest.mark.parametrize(
    ("caller", "dialled", "text"),
    [
        (VIEWER, "sip:carl@pbx.example", "ann may not use the route pbx"),
        (NOBODY, "sip:0123@soip.local", "eve may not use the route pbx"),
        (CAMERA, "sip:carl@pbx.example", "dev2 may not use the route pbx"),
        (SERVER, "sip:carl@pbx.example", "media-0 may not use the route pbx"),
        (OPERATOR, "sip:112@soip.local", "bob may not use the route doors"),
    ],
)
def test_a_route_is_for_the_roles_it_names(abroad: FakeTables, caller: Caller, dialled: str, text: str) -> None:
    assert ask(abroad, caller, dialled) == Refuse(403, text)


def test_a_camera_may_have_a_route(abroad: FakeTables) -> None:
    assert isinstance(ask(abroad, CAMERA, "sip:112@soip.local"), Forward)
    assert isinstance(ask(abroad, VIEWER, "sip:112@soip.local"), Forward)


def test_nobody_goes_through_from_one_route_to_another(abroad: FakeTables) -> None:
    caller = Caller("bob", AccountKind.USER, "bob", "admin", "doors", "sip:x@doors.example")
    for dialled in ("sip:carl@pbx.example", "sip:0123@soip.local", "sip:112@soip.local"):
        assert ask(abroad, caller, dialled) == Refuse(403, "calls of route doors go no further than this domain")


def test_who_calls_in_has_the_rights_of_the_account_of_his_route(abroad: FakeTables) -> None:
    caller = Caller("ann", AccountKind.USER, "ann", "viewer", "pbx", "sip:carl@pbx.example")
    assert isinstance(ask(abroad, caller, "sip:cam1@soip.local"), Forward)
    assert isinstance(ask(abroad, caller, "sip:bob@soip.local"), Refuse), "not registered"
    refused = ask(abroad, caller, "sip:cam1@soip.local", "MESSAGE")
    assert isinstance(refused, Refuse)
    assert refused.status == 403


def test_a_domain_without_a_route_is_named(abroad: FakeTables) -> None:
    verdict = ask(abroad, OPERATOR, "sip:carl@nowhere.example")
    assert verdict == Refuse(404, "nowhere.example is another domain, and no route leads there")
    assert ask(abroad, OPERATOR, "sip:0123@nowhere.example") == verdict, "a number there is not a number here"
    assert ask(abroad, OPERATOR, "sip:nobody@soip.local") == Refuse(404, "there is no nobody here")


def test_where_nobody_answers_nobody_waits(abroad: FakeTables) -> None:
    abroad.down.add("pbx")
    verdict = ask(abroad, OPERATOR, "sip:carl@pbx.example")
    assert verdict == Refuse(503, "nobody answers on the route pbx", 30)
