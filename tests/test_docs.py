"""What the documents say is there, is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from soip.config import PREFIX, Settings
from soip.media import metrics as media_metrics
from soip.media.face import UNAVAILABLE
from soip.media.livesocket import EXPIRED, RIGHT_ENDED, UNKNOWN_CAMERA
from soip.signalling import metrics as sip_metrics
from soip.web import errors as web_errors
from soip.web import metrics as web_metrics
from soip.web.api import router
from soip.web.errors import ApiError
from tests.peers import need

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:img|source)[^>]* (?:src|srcset)=\"([^\"]+)\"")
_FILE = re.compile(r"(?:\.?[\w-]+/)*[\w.-]+\.(?:py|md|toml|ts|svelte|c|css|png|svg|json|txt)|(?:\.?[\w-]+/)+")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for found in _LINK.finditer(document.read_text("utf-8")):
        target, _, anchor = (found[1] or found[2]).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name} links to {target}"
        if anchor:
            headings = [_anchor(heading) for heading in _HEADING.findall(path.read_text("utf-8"))]
            assert anchor in headings, f"{document.name} links to {target}#{anchor}"


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/standards.md"])
def test_files_that_are_named_exist(name: str) -> None:
    bases = [ROOT, ROOT / "src" / "soip", ROOT / "tests"]
    named = [code for code in _CODE.findall((ROOT / name).read_text("utf-8")) if _FILE.fullmatch(code)]
    assert len(named) > 50
    missing = [code for code in named if not any((base / code).exists() for base in bases)]
    assert not missing


def test_every_source_file_is_on_the_map() -> None:
    """A room's file is named in the architecture's map, so that nothing lies where nobody looks."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = re.split(r"^### `(\w+)/`.*$", text, flags=re.MULTILINE)[1:]
    known = dict(zip(rooms[::2], rooms[1::2], strict=True))
    source = ROOT / "src" / "soip"
    for room in sorted(path.parent.name for path in source.glob("*/__init__.py")):
        files = {file.stem for file in (source / room).glob("*.py")} - {"__init__", "errors"}
        named = set(_CODE.findall(known[room]))
        assert not files - named, f"{room}/ has files the map of ARCHITECTURE.md does not name"


def test_every_row_of_the_standards_has_a_source_and_a_test() -> None:
    rows = [line for line in (ROOT / "docs/standards.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| clause")]
    assert len(rows) > 40
    for row in rows:
        clause, what, source, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert clause
        assert what
        assert all((ROOT / "src" / "soip" / name).is_file() for name in _CODE.findall(source)), row
        assert all((ROOT / "tests" / name).is_file() for name in _CODE.findall(test)), row
        assert _CODE.findall(source), row
        assert _CODE.findall(test), row


def test_the_configuration_lists_every_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/configuration.md").read_text("utf-8")
    rows = {cells[1].strip("` "): cells for line in text.splitlines() if len(cells := line.split("|")) == 6}
    listed = {name: cells for name, cells in rows.items() if cells[2].strip().startswith(f"`{PREFIX}")}
    assert list(listed) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        variable, default = (listed[name][column].strip("` ") for column in (2, 3))
        assert variable == PREFIX + name.upper()
        if field.default in (None, ()):
            assert default, "what holds instead is told"
        elif field.default_factory is None:
            assert default == str(field.default), name


def test_the_example_settings_are_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs/configuration.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.+?)```", text, flags=re.DOTALL)
    (tmp_path / "soip.toml").write_text(example)
    settings = Settings.load(data=tmp_path)
    assert settings.http.port == 8080
    assert settings.domain == "site.example"


def test_every_figure_is_described() -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `soip_")]
    families = {*media_metrics.FAMILIES, *sip_metrics.FAMILIES, *web_metrics.FAMILIES}
    assert len(families) > 50
    written = set()
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        written.add(f"| `{family.written}` | {family.kind} | {labels} | {family.help.rstrip('.')} |")
    assert set(rows) == written
    assert len(rows) == len(written)


def test_the_examples_for_prometheus_are_accepted_by_it(tmp_path: Path) -> None:
    text = (ROOT / "docs/metrics.md").read_text("utf-8")
    config, rules = re.findall(r"```yaml\n(.+?)```", text, flags=re.DOTALL)
    (tmp_path / "token").write_text("x")
    (tmp_path / "soip-rules.yml").write_text(rules)
    config = config.replace("/etc/prometheus/soip-token", str(tmp_path / "token"))
    (tmp_path / "prometheus.yml").write_text(config)
    command = [need("promtool"), "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    named = set(re.findall(r"soip_[a-z_]+", rules))
    known = {family.written for family in (*media_metrics.FAMILIES, *sip_metrics.FAMILIES, *web_metrics.FAMILIES)}
    assert {name.removesuffix("_bucket") for name in named} <= known


def test_every_error_and_address_of_the_api_is_described() -> None:
    text = (ROOT / "docs/http.md").read_text("utf-8")
    errors = [kind for kind in vars(web_errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]
    assert len(errors) > 8
    for kind in errors:
        assert kind is ApiError or f"| `{kind.code}` | {kind.status} |" in text, kind
    for route in router.routes:
        assert isinstance(route, APIRoute)
        address = route.path.replace("{camera}", "{id}")
        assert all(f"| `{method} {address}" in text for method in route.methods or ()), address
    for code in (EXPIRED, RIGHT_ENDED, UNKNOWN_CAMERA, UNAVAILABLE):
        assert f"| {code} |" in text
