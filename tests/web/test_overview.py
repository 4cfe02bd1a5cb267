"""How a camera's two states come together."""

from __future__ import annotations

import pytest

from soip.directory.rows import BindingRow, CameraRow, CameraStateRow, MediaInstance
from soip.policy.liveness import ALIVE_US
from soip.web.overview import alive, reachable, view

NOW = 1_795_172_645_000_000
CAMERA = CameraRow("cam1", "cam1", "Gate", "always", True)


def _instance(name: str, heartbeat_us: int) -> MediaInstance:
    return MediaInstance(name, "m", 0, "127.0.0.1:1", "127.0.0.1:2", 1, 0, heartbeat_us)


def _binding(account: str, expires_us: int) -> BindingRow:
    return BindingRow(account, "sip:x", account, "udp", "c", 1, 0, expires_us)


def test_workers_live_as_long_as_their_heart_beats() -> None:
    instances = [_instance("m-0", NOW - ALIVE_US), _instance("m-1", NOW - ALIVE_US - 1), _instance("m-2", NOW)]
    assert list(alive(instances, NOW)) == ["m-0", "m-2"]


def test_only_bindings_that_have_not_expired_count() -> None:
    assert reachable([_binding("a", NOW + 1), _binding("b", NOW), _binding("c", NOW - 1)], NOW) == {"a"}


@pytest.mark.parametrize("media", ["recording", "live", "no-media", "offline", "idle"])
def test_what_a_living_worker_says_counts(media: str) -> None:
    shown = view(CAMERA, CameraStateRow("cam1", media, NOW, "m-1", NOW), True, "m-1")
    assert (shown.media, shown.instance, shown.signalling) == (media, "m-1", "online")
    assert shown.since == "2026-11-20T11:04:05.000Z"
    assert (shown.name, shown.record, shown.audio) == ("Gate", "always", True)


@pytest.mark.parametrize(("online", "media"), [(True, "idle"), (False, "offline")])
@pytest.mark.parametrize("home", [None, "m-0"])
def test_what_a_worker_said_that_serves_it_no_more_does_not(online: bool, media: str, home: str | None) -> None:
    shown = view(CAMERA, CameraStateRow("cam1", "recording", NOW, "m-9", NOW), online, home)
    assert (shown.media, shown.since, shown.instance) == (media, None, home)


def test_without_workers_nobody_serves() -> None:
    assert view(CAMERA, None, True, None).instance is None


def test_a_camera_without_a_name_is_called_by_its_id() -> None:
    assert view(CameraRow("cam1", "cam1", ""), None, True, None).name == "cam1"
