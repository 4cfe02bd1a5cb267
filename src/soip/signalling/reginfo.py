"""Registrations of an address of record (RFC 3680): all of them first, then what has changed, numbered.

A refresh changes nothing that is told: only contacts that come and go are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from soip.control.xml import Element, build
from soip.signalling.location import Binding
from soip.signalling.subscriptions import Notice

PACKAGE = "reg"
CONTENT_TYPE = "application/reginfo+xml"
NAMESPACE = "urn:ietf:params:xml:ns:reginfo"


def contact_id(binding: Binding) -> str:
    """The id of a contact, the same as long as it is registered (§5.4): a device that has moved is another contact."""
    return blake2b(binding.contact.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def document(address: str, version: int, contacts: Sequence[Element], *, full: bool, bound: bool, was: bool) -> bytes:
    """A reginfo document. `bound`: there is a contact now; `was`: there has been one."""
    state = "active" if bound else "terminated" if was else "init"
    attributes = (("aor", address), ("id", "r"), ("state", state))
    registration = Element("registration", children=tuple(contacts), attributes=attributes)
    top = (("xmlns", NAMESPACE), ("version", str(version)), ("state", "full" if full else "partial"))
    return build(Element("reginfo", children=(registration,), attributes=top))


class RegistrationTeller:
    """Tells the bindings of one address; `bindings` gives those in force, `now` is their clock."""

    def __init__(self, address: str, bindings: Callable[[], Sequence[Binding]], now: Callable[[], float]) -> None:
        self._address = address
        self._bindings = bindings
        self._now = now
        self._told: Mapping[str, Binding] = {}
        self._version = 0
        self._was = False

    async def news(self, *, full: bool) -> Notice | None:
        """All bindings, or those that have come and gone since; None when none has."""
        held = {contact_id(binding): binding for binding in self._bindings()}
        come = [_contact(key, held[key], "active", "registered") for key in held if full or key not in self._told]
        gone = [_contact(key, self._told[key], "terminated", self._why(key)) for key in self._told if key not in held]
        if not (full or come or gone):
            return None
        self._was = self._was or bool(held)
        # A full state lists what is; only a partial one what is no more (§4.7.1, §5.1).
        contacts = come if full else [*come, *gone]
        body = document(self._address, self._version, contacts, full=full, bound=bool(held), was=self._was)
        self._version += 1
        self._told = held
        return Notice(body, CONTENT_TYPE)

    def acknowledged(self) -> None:
        """The last news have been taken."""

    def _why(self, key: str) -> str:
        return "expired" if self._told[key].expires_at <= self._now() else "unregistered"


def _contact(key: str, binding: Binding, state: str, event: str) -> Element:
    # Bytes that were no UTF-8 in the REGISTER are none here either, and what XML cannot carry is marked.
    uri = "".join(letter if letter.isprintable() else "?" for letter in binding.contact)
    attributes = (("id", key), ("state", state), ("event", event))
    return Element("contact", children=(Element("uri", uri),), attributes=attributes)
