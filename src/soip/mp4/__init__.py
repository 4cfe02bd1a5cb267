"""Fragmented MP4 (ISO/IEC 14496-12, 14496-15): bytes in, bytes out.

What lives here: `tracks` (sample entries), `writer` (init segment, fragment), `index` (what a file holds, `sidx`),
`reader` (heads, fragments, samples), `rewrite` (fragments moved into an export), `repair` (torn files, box by box).

Rules of the room:

1. Standard library only, and none of asyncio, socket, ssl, time, random, secrets, uuid, os, threading, sqlite3.
   Who needs a file's bytes passes `read(offset, length) -> bytes`.
2. A fragment is `prft moof mdat`, made as one `bytes`, so that it reaches the disk in one write.
3. Media time is a 64-bit count that goes on across files and is close to UTC. A file's decode times count from its own
   start, because players take them for positions (with a start of 57 years, FFmpeg shows that as the duration); the
   head box says which media time that start is, `prft` which UTC every fragment is. A live stream carries media time as
   it is. Names that end in `_us` are UTC microseconds (int), `time` and `duration` are in the track's timescale.
4. Read bytes are never trusted: every size is checked before it is used, and what is wrong raises `errors.BoxError`
   with the place. Nothing here allocates by a number that a file claims.
5. Writing costs about a microsecond a frame: no object per box, one pack per run.
"""
