"""A phone from Debian whose book has a camera in it: it sees whether the camera is there. And alarms, all the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.namespace import Namespace
from tests.site import DOMAIN, SIP_PASSWORD, USER, Site, now_us, rfc3339, until

pytestmark = pytest.mark.interop


def test_a_phone_follows_a_camera_that_raises_alarms(tmp_path: Path) -> None:
    with Namespace() as network, Site(tmp_path, host=network.host) as site:
        site.add_camera("cam1", "--record", "never")
        site.add_user()
        site.start()
        phone = Baresip(site, network, USER, SIP_PASSWORD, contacts=f'"Gate" <sip:cam1@{DOMAIN}>;presence=p2p\n')
        phone.until("Subscribing to 1 contacts")

        def shows(state: str) -> None:
            until(lambda: state in phone.tell("contacts"), explain=lambda: phone.tell("contacts") + phone.text[-4000:])

        shows("Offline")
        camera = site.simulate("cam1", "--alarm-every", "1")
        shows("Online")
        since = now_us()

        def alarms() -> list[dict[str, object]]:
            query = {"from": rfc3339(since - 60_000_000), "to": rfc3339(since + 600_000_000)}
            with site.client() as client:
                return list(client.get("/api/cameras/cam1/events", params=query).json()["events"])

        until(lambda: [alarm["handed_over"] for alarm in alarms()][:3] == [True] * 3, explain=site.explain)
        until(lambda: sum(e["event"] == "alarm acknowledged" for e in camera.entries) >= 3, explain=lambda: camera.text)
        camera.stop()
        shows("Offline")
        assert site.count("subscription refused") == 0
