"""The registrar in virtual time, with a device of several cameras and REGISTERs of several contacts."""

from __future__ import annotations

from pathlib import Path

import pytest

from soip.config import Lifetime, Settings
from soip.directory.rows import Account, AccountKind
from soip.signalling.accounts import AccountTable
from soip.signalling.answers import Answer
from soip.signalling.location import Location
from soip.signalling.registrar import Lifetimes, Registrar
from soip.sip.errors import SipParseError
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request
from soip.sip.uri import Uri

NVR = Account("nvr", AccountKind.DEVICE, {"MD5": "1"}, ("nvr-1", "nvr-2"))
OTHER = Account("cam1", AccountKind.DEVICE, {"MD5": "2"}, ("cam1",))
ANN = Account("ann", AccountKind.USER, {"MD5": "4"})
MEDIA = Account("media", AccountKind.MEDIA_SERVER, {"SHA-256": "3"})
LIFETIMES = Lifetimes.of(Settings())
FLOW = Flow("udp", ("10.0.0.9", 5060), ("10.0.0.1", 5060))


class Site:
    """A registrar, its table, and a clock that stands where it is put."""

    def __init__(self, lifetimes: Lifetimes | None = None) -> None:
        accounts = AccountTable()
        accounts.replace([NVR, OTHER, MEDIA, ANN], [("media-0", "media")])
        self.location = Location()
        self.registrar = Registrar(accounts, self.location, lifetimes or LIFETIMES)
        self.now = 1000.0
        self.cseq = 0

    def register(
        self, aor: str, *contacts: str, account: Account = NVR, flow: Flow = FLOW, cseq: int = 0, **lines: str
    ) -> Answer:
        self.cseq = cseq or self.cseq + 1
        items = [
            ("Via", "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport"),
            ("From", f"<sip:{aor}@10.0.0.1>;tag=1"),
            ("To", f"<sip:{aor}@10.0.0.1>"),
            ("Call-ID", "boot"),
            ("CSeq", f"{self.cseq} REGISTER"),
            *(("Contact", contact) for contact in contacts),
            *lines.items(),
        ]
        request = Request("REGISTER", Uri.parse("sip:d"), Headers(items))
        return self.registrar.register(request, account, flow, self.now)

    def bound(self, aor: str) -> list[str]:
        return [b.contact for b in self.location.bindings(aor, self.now)]


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_device_registers_itself_and_its_cameras(site: Site) -> None:
    assert site.register("nvr", "<sip:nvr@10.0.0.1>").status == 200
    assert site.register("nvr-2", "<sip:nvr-2@10.0.0.1>").status == 200
    assert site.bound("nvr") == ["sip:nvr@10.0.0.1"]
    assert site.location.bindings("nvr-2", site.now)[0].account == "nvr"
    for foreign in ("cam1", "media-0", "media", "nobody"):
        assert site.register(foreign, "<sip:x@10.0.0.1>").status == 403
    assert site.register("media-0", "<sip:media-0@d;gr>", account=MEDIA).status == 200


def test_contacts_have_their_own_lifetimes(site: Site) -> None:
    answer = site.register("nvr", "<sip:a@h>;expires=60, <sip:b@h>", Expires="120")
    assert sorted(value for _, value in answer.headers) == ["<sip:a@h>;expires=60", "<sip:b@h>;expires=120"]
    site.now += 60
    assert site.bound("nvr") == ["sip:b@h"]


def test_some_contacts_go_while_others_stay(site: Site) -> None:
    site.register("nvr", "<sip:a@h>", "<sip:b@h>")
    assert site.register("nvr", "<sip:a@h>;expires=0, <sip:c@h>").status == 200
    assert set(site.bound("nvr")) == {"sip:b@h", "sip:c@h"}


def test_one_bad_contact_leaves_everything_as_it_was(site: Site) -> None:
    site.register("nvr", "<sip:a@h>")
    before = site.location.bindings("nvr", site.now)
    assert site.register("nvr", "<sip:b@h>", "<sip:c@h>;expires=5").status == 423
    assert site.register("nvr", "<sip:b@h>, <sip:a@h>;expires=0", cseq=1).status == 200, "the same CSeq is a repeat"
    site.register("nvr", "<sip:a@h>", cseq=9)
    assert site.register("nvr", "<sip:new@h>, <sip:a@h>;expires=0", cseq=3).status == 500
    assert "sip:new@h" not in site.bound("nvr")
    for bad in ("<mailto:a@h>", "<sip:a@h?x=y>", "nonsense", "<sip:a@h"):
        with pytest.raises(SipParseError):
            site.register("nvr", bad)
    assert before


@pytest.mark.parametrize(
    ("asked", "given"), [("60", 60), ("3600", 3600), ("3601", 3600), ("4294967295", 3600), ("rubbish", 3600)]
)
def test_lifetimes(site: Site, asked: str, given: int) -> None:
    assert site.register("nvr", "<sip:a@h>", Expires=asked).headers == (("Contact", f"<sip:a@h>;expires={given}"),)


@pytest.mark.parametrize("asked", ["1", "59"])
def test_too_brief(site: Site, asked: str) -> None:
    assert ("Min-Expires", "60") in site.register("nvr", "<sip:a@h>", Expires=asked).headers


def test_each_kind_of_device_has_lifetimes_of_its_own() -> None:
    site = Site(Lifetimes(Lifetime(30, 300), Lifetime(40, 400), Lifetime(50, 500), Lifetime(60, 600)))
    page = Flow("wss", FLOW.local, ("10.0.0.1", 5060), 7)
    kinds = (
        (NVR, "nvr", FLOW, 30),
        (ANN, "ann", FLOW, 40),
        (MEDIA, "media-0", FLOW, 50),
        (ANN, "ann", page, 60),
    )
    for account, aor, flow, low in kinds:
        refused = site.register(aor, "<sip:x@h>", account=account, flow=flow, Expires=str(low - 1))
        assert (refused.status, dict(refused.headers)["Min-Expires"]) == (423, str(low))
        for asked in (str(low * 10 + 1), "", "4294967295"):
            lines = {"Expires": asked} if asked else {}
            given = site.register(aor, "<sip:x@h>", account=account, flow=flow, **lines)  # type: ignore[arg-type]
            assert dict(given.headers)["Contact"] == f"<sip:x@h>;expires={low * 10}"
        assert site.register(aor, "<sip:x@h>", account=account, flow=flow, Expires=str(low)).status == 200
        assert site.register(aor, "*", account=account, flow=flow, Expires="0").headers == ()


def test_the_operator_sets_the_lifetimes(tmp_path: Path) -> None:
    (tmp_path / "soip.toml").write_text('sip_expires_camera = "20-86400"\nsip_expires_browser = "90-90"\n')
    lifetimes = Lifetimes.of(Settings.load(data=tmp_path))
    assert (lifetimes.camera, lifetimes.browser) == (Lifetime(20, 86_400), Lifetime(90, 90))
    assert (lifetimes.phone, lifetimes.media) == (LIFETIMES.phone, LIFETIMES.media)
    assert lifetimes.longest == 86_400


@pytest.mark.parametrize(
    ("written", "q", "told"),
    [
        (";q=0.5", 0.5, ";q=0.5"),
        (";q=0", 0.0, ";q=0"),
        (";q=1.000", 1.0, ""),
        ("", 1.0, ""),
        (";q=2", 1.0, ""),
        (";q=x", 1.0, ""),
        (";q=0.1234", 1.0, ""),
        (";q=-1", 1.0, ""),
        (";q", 1.0, ""),
    ],
)
def test_how_much_a_contact_is_preferred(site: Site, written: str, q: float, told: str) -> None:
    answer = site.register("nvr", f"<sip:a@h>{written}")
    assert answer.headers == (("Contact", f"<sip:a@h>;expires=3600{told}"),)
    assert [b.q for b in site.location.bindings("nvr", site.now)] == [q]


def test_an_instance_that_changes_its_address_is_one_binding(site: Site) -> None:
    for port in (5060, 5070):
        flow = Flow("udp", FLOW.local, ("10.0.0.1", port))
        site.register(
            "nvr", f'<sip:nvr@10.0.0.1:{port}>;+sip.instance="<urn:uuid:1>";reg-id=1', flow=flow, Supported="outbound"
        )
    (held,) = site.location.bindings("nvr", site.now)
    assert (held.contact, held.flow.port, held.instance, held.reg_id) == (
        "sip:nvr@10.0.0.1:5070",
        5070,
        "<urn:uuid:1>",
        1,
    )


def test_behind_address_translation_the_flow_counts(site: Site) -> None:
    flow = Flow("udp", FLOW.local, ("192.0.2.7", 40001))
    site.register("nvr", "<sip:nvr@192.168.1.5:5060>", flow=flow)
    (held,) = site.location.bindings("nvr", site.now)
    assert (held.target.host, held.target.port) == ("192.0.2.7", 40001)


def test_a_required_extension(site: Site) -> None:
    assert site.register("nvr", "<sip:a@h>", Require="path, gruu").status == 420


def test_the_path_to_a_device_is_kept_and_told(site: Site) -> None:
    path = "<sip:edge1.d;lr>, <sip:10.9.9.9:5070;lr;ob>"
    answer = site.register("nvr", "<sip:nvr@h>", Path=path, Require="path")
    assert answer.status == 200
    assert [value for name, value in answer.headers if name == "Path"] == path.split(", ")
    assert [b.path for b in site.location.bindings("nvr", site.now)] == [tuple(path.split(", "))]
    for wrong in ("<tel:+1>", ", ".join(["<sip:e;lr>"] * 9), f"<sip:{'x' * 1100};lr>"):
        with pytest.raises(SipParseError, match="a path has"):
            site.register("nvr", "<sip:nvr@h>", Path=wrong)


def test_the_flows_of_a_device_that_says_outbound_stand_side_by_side(site: Site) -> None:
    contact = '<sip:nvr@10.0.0.{0}>;+sip.instance="<urn:uuid:1>";reg-id={0}'
    for number in (1, 2):
        answer = site.register("nvr", contact.format(number), Supported="path, outbound", Require="outbound")
        assert answer.status == 200
        assert ("Require", "outbound") in answer.headers
        assert ("Flow-Timer", "120") in answer.headers
    assert len(site.bound("nvr")) == 2
    answer = site.register("nvr", contact.format(1), Supported="path, outbound")
    assert len(site.bound("nvr")) == 2, "the same flow again"


def test_the_number_of_a_flow_says_nothing_without_outbound(site: Site) -> None:
    for number in (1, 2):
        answer = site.register("nvr", f'<sip:nvr@10.0.0.{number}>;+sip.instance="<urn:uuid:1>";reg-id={number}')
        assert "Flow-Timer" not in dict(answer.headers)
    assert site.bound("nvr") == ["sip:nvr@10.0.0.2"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("", 439), ("<sip:edge.d;lr>", 439), ("<sip:inner.d;lr>, <sip:edge.d;lr;ob>", 200)],
)
def test_a_first_hop_must_keep_the_flow(site: Site, path: str, status: int) -> None:
    edge = "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK2"
    contact = '<sip:nvr@10.0.0.1>;+sip.instance="<urn:uuid:1>";reg-id=1'
    answer = site.register("nvr", contact, Supported="path, outbound", v=edge, **({"Path": path} if path else {}))  # type: ignore[arg-type]  # header lines only
    assert answer.status == status
    assert len(site.bound("nvr")) == (status == 200)


def test_a_star_beside_another_contact(site: Site) -> None:
    with pytest.raises(SipParseError):
        site.register("nvr", "*", "<sip:a@h>", Expires="0")
