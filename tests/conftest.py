"""What holds for all tests: how many faults are made, how long examples may take, and a clean environment."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Machines that run tests are slow at times; a hang is what the timeouts of the tests themselves are for.
settings.register_profile("here", deadline=None)
# The same examples at each run, so that a red build is the fault of what was changed.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults",
        choices=("sample", "all"),
        default="sample",
        help='how much to break: "all" also runs tests marked faults("all") (default: sample)',
    )


def pytest_configure(config: pytest.Config) -> None:
    # Settings of the shell that starts the tests are none of the tests'.
    for name in [name for name in os.environ if name.startswith("SOIP_")]:
        del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--faults") == "all":
        return
    left_out = [item for item in items if any("all" in mark.args for mark in item.iter_markers("faults"))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether everything is to be broken in every way (`--faults=all`), not only a sample."""
    return bool(request.config.getoption("--faults") == "all")
