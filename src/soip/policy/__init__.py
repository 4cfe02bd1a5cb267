"""Pure decisions: facts and the time go in, a verdict comes out.

Rules of this room:

1. No input or output, no clock, no randomness: keys, times and lists are handed in by the caller.
2. A verdict is a value; only bad input raises, from the tree in `errors.py`.
3. Every role asks the same function, so the proxy, the media server and the web server cannot disagree.

It imports the standard library only, and of that neither asyncio, socket, ssl, time, random, secrets, uuid,
os, threading nor sqlite3.
"""
