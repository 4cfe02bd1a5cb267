"""A root on a real folder, a disk thread on it, a camera that records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from soip.store.disk import DiskWriter
from soip.store.root import Root
from tests.store.recordings import Camera, open_root


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(tmp_path / "media")


@pytest.fixture
def disk(root: Root) -> Iterator[DiskWriter]:
    disk = DiskWriter(root, sync_seconds=0.05)
    disk.start()
    yield disk
    assert disk.close(20)


@pytest.fixture
def camera(disk: DiskWriter) -> Camera:
    return Camera(disk)
