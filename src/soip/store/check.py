"""Compare catalog, journals and disk (`soip store check`): whatever one knows and another does not is a finding."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from .errors import StoreError
from .folder import all_files, row_of
from .rebuild import digest_of, gaps
from .recording import Recording
from .root import Root


@dataclass(frozen=True, slots=True)
class Finding:
    """`what`: missing, unknown, damaged, unsealed, differs, or gap; `where` is a path or a camera."""

    what: str
    where: str
    detail: str


def check(
    root: Root,
    rows: Iterable[Recording],
    gap_ids: Iterable[str],
    *,
    only: Collection[str] | None = None,
    passing: Collection[str] = (),
    digests: bool = False,
) -> Iterator[Finding]:
    """What does not agree between the catalog (`rows`, ids of gaps) and the folder. Nothing is changed.

    A file that is being written shows as neither unsealed nor different, as long as its row says that it is not sealed.
    One that was begun or sealed after its row was read does: look at those paths again, with rows read anew, by `only`.
    Of the `passing` files, which are expiring, it does not matter whether they are there. With `digests`, all bytes are
    read and compared.
    """
    known = {row.path: row for row in rows if only is None or row.path in only}
    for path in all_files(root):
        if path not in passing and (only is None or path in only):
            yield from _compare(root, path, known.pop(path, None), digests)
    for path in sorted(known):
        yield Finding("missing", path, "in the catalog, but not on the disk")
    wanted = set(gap_ids)
    for camera, entry in gaps(root):
        if entry.id not in wanted:
            yield Finding("gap", camera, f"{entry.id} ({entry.cause}) is in the journal, but not in the catalog")


def _compare(root: Root, path: str, row: Recording | None, digests: bool) -> Iterator[Finding]:
    try:
        descriptor = os.open(root.absolute(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        yield Finding("damaged", path, f"cannot be opened: {error.strerror}")
        return
    try:
        found = row_of(descriptor, path)
        if row is None:
            yield Finding("unknown", path, "on the disk, but not in the catalog: `soip store rebuild` adds it")
        elif row.sealed:
            yield from _differences(found, row)
            if digests and row.sha256 and digest_of(descriptor, path) != row.sha256:
                yield Finding("differs", path, "its bytes are not the recorded ones (SHA-256)")
        elif found.sealed:
            yield Finding("differs", path, "sealed on the disk, but not in the catalog")
    except (OSError, StoreError) as error:
        yield Finding("damaged", path, str(error))
    finally:
        os.close(descriptor)


def _differences(found: Recording, row: Recording) -> Iterator[Finding]:
    if not found.sealed:
        yield Finding("unsealed", row.path, "sealed in the catalog, but not on the disk: the next start repairs it")
    for name in ("camera", "bytes", "frames", "damaged", "lost"):
        one, other = getattr(row, name), getattr(found, name)
        if one != other:
            yield Finding("differs", row.path, f"{name}: {one} in the catalog, {other} on the disk")
    if abs(row.start_us - found.start_us) > 1 or abs(row.end_us - found.end_us) > 1:
        yield Finding("differs", row.path, "another time in the catalog than on the disk")
