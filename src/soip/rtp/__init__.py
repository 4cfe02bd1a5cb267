"""RTP and RTCP, sans-IO: bytes and ``now`` go in; access units, reports and packets come out.

Rules of the room:

1. Standard library only, and none of asyncio, socket, ssl, time, random, secrets, uuid, os, threading,
   sqlite3. SSRCs, first sequence numbers, ``now`` and UTC are given by the caller.
2. One file per payload format, parse and build together (``g711``, ``aac``, ``opus``); of H.264 and H.265, which differ
   in numbers alone, one for both (``nal``) and one for the numbers of each. A program stream (``ps``) is only
   read: what comes out of it leaves by RTP of its own.
3. Nothing here grows with what a peer sends: every buffer has a bound, and what exceeds it is dropped and
   counted.
4. Per packet there is a header unpack, a sequence check and an append. Objects are made per access unit,
   never per packet; no exception and no log call is control flow per packet.
5. Every fast path has a plain twin in ``tests/rtp`` and both give equal bytes for random packets.
6. Three kinds of time never mix: ``now`` and ``arrival`` are monotonic seconds (float), ``timestamp`` and
   ``ticks`` count the media clock (int, extended to 64 bits), names that end in ``_us`` are UTC microseconds
   (int).
"""
