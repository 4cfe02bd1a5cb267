"""Recordings on disk: append, seal, find, read, repair, export (the store's design is `docs/design/store.md`).

What lives here: `root` (a folder with an identity, and its reserve), `layout` (paths), `disk` (the thread that writes),
`writer` (one per recording; `openfile` is its half on the thread, `events` what it reports), `journal` (a day's gaps
and events beside the files), `sealing` and `repair`, `files` and `folder` (fronts, indexes, what is there), `reader`,
`hls` and `export`, `expire`, `check` and `rebuild` (`soip store check|rebuild`).

Rules of the room:

1. Imports: `mp4` and the standard library; no directory, no asyncio. Callers bring rows and take rows.
2. Nobody but the disk's thread writes: who records hands over bytes and never waits. Events come back on that thread.
3. A fragment is one write. A file has no index or a whole one; the eight bytes that make the difference go last.
4. Nothing is written to a root that is not the one it was: the identity file is looked at before each new file.
5. A full disk is an event, not an exception: what was written is sealed (a reserve is kept for that), the caller is
   told since when nothing is recorded.
6. Reading never blocks on writing: an open file is read up to its last whole fragment.
7. Times at the interface are UTC microseconds (`*_us`); paths in rows are relative to the root, with slashes.
"""
