"""Where a request goes: a pure function of who asks, what is asked for, and the tables.

    who asks           asks for a camera            a user          a media instance
    media server       the camera's binding         its contacts    that instance
    user               the camera's media instance  its contacts    403
    device             403                          its contacts    403
    another server     as the user its route names  its contacts    403

An id nobody has is 404, a known one without a contact 480, a media instance that is not connected 503. Ids
are matched on the user part alone, because devices put their own address in the host part. Only the domains and numbers
of `sip_routes` lead to other servers, for the roles that a route names, and never from one route to another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from soip.config import SipRoute
from soip.directory.rows import AccountKind
from soip.policy.access import Permission, allowed
from soip.signalling.flows import InstanceFlow, TrunkFlow, Way
from soip.signalling.location import Binding
from soip.sip.errors import UriError
from soip.sip.uri import Uri, split_user

# A worker that lost its connection is back within 2 s (back-off of the media role); ask again after that.
INSTANCE_RETRY_SECONDS = 3
ROUTE_RETRY_SECONDS = 30
MAX_LEGS = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated account. `identity` is the id asserted for it: its own, or one of its aliases. Who calls in by a
    route calls as the account of that; `origin` is the route, `asserted` who it says is calling, "" where it does not.
    """

    account: str
    kind: AccountKind
    identity: str
    role: str | None = None
    origin: str = ""
    asserted: str = ""


class Tables(Protocol):
    """What the decision reads. All answers come from memory."""

    def kind(self, account: str) -> AccountKind | None:
        """The kind of an account, None when there is none of that id."""

    def device_of(self, camera: str) -> str | None:
        """The device account a camera belongs to, None when there is no such camera."""

    def instances(self) -> Mapping[str, str]:
        """The media instances there are, connected or not, and the media server each belongs to."""

    def home(self, camera: str) -> str | None:
        """The media instance that serves a camera, connected or not; None while it has not been placed."""

    def bindings(self, aor: str) -> Sequence[Binding]:
        """The contacts of an address, the latest first."""

    def route_to_domain(self, domain: str) -> SipRoute | None:
        """The route for addresses of another domain."""

    def route_to_number(self, user: str) -> SipRoute | None:
        """The route for a number that nobody here has."""

    def is_down(self, route: SipRoute) -> bool:
        """Whether nobody answers there."""

    def is_ours(self, host: str) -> bool:
        """Whether a host is this server: its domain, or an address."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One branch: the way it goes, the Request-URI it carries there, the id that answers there, the proxies on
    its way (Route values), and how much it is preferred (0 to 1). `others` lead to the same device over its other
    flows: each is for when those before have failed (RFC 5626 §5.3).
    """

    way: Way
    uri: str
    identity: str
    routes: tuple[str, ...] = ()
    q: float = 1.0
    others: tuple[Leg, ...] = ()


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it on, by the legs that are preferred most, all of them at once; then by those preferred next, and so on
    (RFC 3261 §16.6). `legs` are in that order.
    """

    legs: tuple[Leg, ...]

    @property
    def groups(self) -> list[tuple[Leg, ...]]:
        """The legs that are tried together."""
        return [tuple(legs) for _, legs in groupby(self.legs, key=lambda leg: leg.q)]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer it. `text` says what is wrong and goes into a Warning header (RFC 3261 §20.43) and the log."""

    status: int
    text: str
    retry_after: int = 0


Verdict = Forward | Refuse


def route(caller: Caller, method: str, uri: Uri, tables: Tables, *, replaces: bool = False) -> Verdict:
    """Decide one request outside a dialog. `uri` is its Request-URI; `replaces`: an INVITE for the place of a call."""
    if uri.scheme != "sip":
        # Of sips nobody could promise what it promises: the way to a camera is as the camera has registered (RFC 5630).
        return Refuse(416, f"{uri.scheme} addresses are not known here; by TLS, too, it is sip:")
    try:
        target, params = split_user(uri.user)
    except UriError as error:
        return Refuse(400, error.what)
    if (abroad := tables.route_to_domain(uri.host)) is not None:
        return _abroad(caller, abroad, uri, tables)
    if tables.device_of(target) is not None:
        if caller.kind is AccountKind.MEDIA_SERVER:
            return _to_camera(target, uri, tables)
        return _to_camera_as_guest(caller, method, target, "start" in params or "stop" in params, uri, tables)
    kind = tables.kind(target)
    if kind is AccountKind.USER:
        return _to_contacts(target, tables)
    if target in tables.instances():
        # A phone that is handed a call dials its Contact (RFC 3891 §4); the media server knows what is shown there.
        taking_over = replaces and allowed(caller.role, Permission.WATCH)
        if caller.kind is not AccountKind.MEDIA_SERVER and not taking_over:
            return Refuse(403, f"{target} is a media server; call a camera instead")
        return _to_instance(target, target, uri, tables)
    if kind is AccountKind.DEVICE and caller.kind is AccountKind.MEDIA_SERVER:
        return _to_camera(target, uri, tables)
    if not tables.is_ours(uri.host):
        return Refuse(404, f"{uri.host} is another domain, and no route leads there")
    if (abroad := tables.route_to_number(target)) is not None:
        return _abroad(caller, abroad, Uri("sip", target, abroad.domain), tables)
    return Refuse(404, f"there is no {target} here")


def _abroad(caller: Caller, route: SipRoute, uri: Uri, tables: Tables) -> Verdict:
    """To another server: a door that others pay for, so nobody goes through that is not meant to."""
    if caller.origin:
        return Refuse(403, f"calls of route {caller.origin} go no further than this domain")
    role = "device" if caller.kind is AccountKind.DEVICE else caller.role
    if role not in route.roles:
        return Refuse(403, f"{caller.identity} may not use the route {route.name}")
    if tables.is_down(route):
        return Refuse(503, f"nobody answers on the route {route.name}", ROUTE_RETRY_SECONDS)
    return Forward((Leg(TrunkFlow(route.name), str(uri), ""),))


def permission_for(method: str, *, recorded: bool) -> Permission:
    """The right a user needs to send this to a camera."""
    if method in ("MESSAGE", "INFO", "REFER"):
        return Permission.CONTROL
    return Permission.PLAYBACK if recorded else Permission.WATCH


def _to_camera(target: str, uri: Uri, tables: Tables) -> Verdict:
    """Towards the device, as its media server: one leg, to the contact it prefers, of those the one refreshed last.

    A device that has lost power comes back with a new contact while the old one has not run out; calling both
    would only call the past.
    """
    device = tables.device_of(target) or target
    for aor in dict.fromkeys((target, device)):
        if found := _preferred(tables.bindings(aor)):
            legs = [Leg(b.target, _contact_uri(b, aor, uri), target, b.path) for b in _flows(found[0], found)]
            return Forward((replace(legs[0], others=tuple(legs[1:])),))
    return Refuse(480, f"camera {target} is not registered")


def _contact_uri(binding: Binding, aor: str, uri: Uri) -> str:
    """The Request-URI for a binding: its contact (RFC 3261 §16.6 step 2), with the camera's id as its user
    where the device registered once for all its cameras, and with what the caller wrote after the id.
    """
    return binding.contact if uri.user == aor else str(Uri.parse(binding.contact).with_user(uri.user))


def _to_camera_as_guest(caller: Caller, method: str, camera: str, recorded: bool, uri: Uri, tables: Tables) -> Verdict:
    if caller.kind is AccountKind.DEVICE:
        return Refuse(403, f"the device {caller.account} may not call cameras")
    permission = permission_for(method, recorded=recorded)
    if not allowed(caller.role, permission):
        return Refuse(403, f"{caller.account} has no right to {permission} {camera}")
    instance = tables.home(camera)
    if instance is None:
        return Refuse(503, f"no media server serves {camera} yet", INSTANCE_RETRY_SECONDS)
    return _to_instance(instance, camera, uri, tables)


def _to_instance(instance: str, identity: str, uri: Uri, tables: Tables) -> Verdict:
    if not tables.bindings(instance):
        return Refuse(503, f"media server {instance} is not connected", INSTANCE_RETRY_SECONDS)
    return Forward((Leg(InstanceFlow(instance), str(uri), identity),))


def _to_contacts(user: str, tables: Tables) -> Verdict:
    found = _preferred(tables.bindings(user))
    if not found:
        return Refuse(480, f"{user} is not registered")
    # RFC 5626 §5.3: the flows of one device lead to one bell, so the request goes over one of them at a time.
    devices = {binding.instance or binding.contact: binding for binding in reversed(found)}
    legs = []
    for first in (b for b in found if b is devices[b.instance or b.contact]):
        flows = [Leg(b.target, b.contact, user, b.path, b.q) for b in _flows(first, found)]
        legs.append(replace(flows[0], others=tuple(flows[1:])))
    return Forward(tuple(legs[:MAX_LEGS]))


def _flows(first: Binding, found: Sequence[Binding]) -> list[Binding]:
    """A binding, and then the other flows of its device, each another way (RFC 5626 §4.2)."""
    ways = {(first.target, first.path): first}
    for binding in found if first.instance else ():
        if binding.instance == first.instance:
            ways.setdefault((binding.target, binding.path), binding)
    return list(ways.values())


def _preferred(bindings: Sequence[Binding]) -> list[Binding]:
    """The most preferred first (RFC 3261 §16.6), among equals the one refreshed last."""
    return sorted(bindings, key=lambda binding: -binding.q)
