"""How a camera's two states come together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soip.directory.rows import BindingRow, CameraRow, CameraStateRow, MediaInstance
from soip.policy.liveness import ALIVE_US
from soip.web.overview import FORGOTTEN_US, alive, group, reachable, view

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


def test_workers_are_ready_full_or_away() -> None:
    ready, full = _instance("m-0", NOW), replace(_instance("m-1", NOW), accepting=False, streams=2, in_bps=5)
    away = _instance("m-2", NOW - ALIVE_US - 1)
    shown = group([ready, full, away], {"m-1": 3}, NOW)
    assert [(each.id, each.state, each.cameras) for each in shown] == [
        ("m-0", "ready", 0),
        ("m-1", "full", 3),
        ("m-2", "away", 0),
    ]
    assert (shown[1].streams, shown[1].in_bps) == (2, 5)


def test_a_worker_that_is_long_gone_is_shown_only_with_cameras() -> None:
    gone = _instance("m-9", NOW - FORGOTTEN_US - 1)
    assert group([gone], {}, NOW) == []
    assert [each.state for each in group([gone], {"m-9": 1}, NOW)] == ["away"]
