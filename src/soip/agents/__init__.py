"""SIP user agents of our own: the software camera (`soip simulate`) and the player (`soip play`).

Both are ordinary peers of the platform: they register, call and are called by the same SIP as any bought
device, and know nothing of the directory, the recorder or the console.

1. Imports: `net`, `sip`, `rtp`, `mp4`, `control`, PyAV and rich; never another role, never `cli`, `config` or `serve`.
2. Codecs and demuxers run in a thread of their own (PyAV releases the GIL); everything SIP and RTP runs on
   the event loop. A source thread hands finished units over with `call_soon_threadsafe` and touches no call.
3. A source runs only while somebody listens; several calls, and several cameras on one file, share it.
4. Times are named by their clock: `ticks` (media, 90 kHz), `now` (monotonic seconds), `utc` (UNIX seconds).
"""
