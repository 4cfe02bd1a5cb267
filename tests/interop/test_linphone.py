"""linphone registers over UDP and TCP, calls a camera, hangs up and leaves. TLS: `test_tls.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.linphone import Linphone
from tests.interop.namespace import Namespace
from tests.site import DOMAIN, USER, Site, until

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    with Namespace() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with a camera that is heard, and a person."""
    with Site(tmp_path_factory.mktemp("linphone"), host=network.host) as site:
        site.add_camera("cam1", "--audio")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        yield site


def flows(site: Site) -> list[str]:
    """The transports over which the phone is registered."""
    return [flow.partition(":")[0] for (flow,) in site.query("SELECT flow FROM binding WHERE account_id = ?", USER)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_linphone_registers_calls_and_leaves(site: Site, network: Namespace, tmp_path: Path, transport: str) -> None:
    phone = Linphone(site, network, tmp_path, transport)
    until(lambda: flows(site) == [transport], explain=lambda: phone.text)
    begun = site.count("viewer's call begins")
    assert "Status: Ok" in phone.tell(f"call sip:cam1@{DOMAIN}")
    until(lambda: site.count("viewer's call begins") > begun, explain=lambda: site.explain() + phone.text)
    # What only speaks to it (sendonly) has put it on hold, says linphone.
    phone.until("call-status", "LinphoneCallPausedByRemote")
    ended = site.count("viewer's call ended")
    phone.tell("terminate")
    until(lambda: site.count("viewer's call ended") > ended, explain=site.explain)
    phone.tell("unregister 1")
    until(lambda: flows(site) == [], explain=lambda: phone.text)
    phone.stop()


def test_linphone_with_a_wrong_password_is_refused(site: Site, network: Namespace, tmp_path: Path) -> None:
    refused = site.count("wrong password or unknown id", id=USER)
    phone = Linphone(site, network, tmp_path, "udp", password="guess")
    until(lambda: site.count("wrong password or unknown id", id=USER) > refused, explain=lambda: phone.text)
    phone.until("register-status 1", "State: LinphoneRegistrationFailed")
    assert flows(site) == []
    phone.stop()
