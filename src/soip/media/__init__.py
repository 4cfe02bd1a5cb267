"""The media role: calls cameras, records them, and serves live and recorded pictures.

The way of a picture, file by file::

    role ── supervises ──► cameras ── one per camera ──► session (SIP dialog, RTP in, clock)
                                                          │ access units, on the one media loop
                                          ┌───────────────┼──────────────────┐
                                          ▼               ▼                  ▼
                                       recorder         relay              browser
                                   (fragments, gaps) (RTP viewers, GSO) (fMP4 per frame)

Rules:

1. One camera session serves the recorder and every viewer; whoever needs it holds it, the last one to let go ends it.
2. The loop that receives never waits: disks hang behind `store.DiskWriter`, the directory behind write-behind queues,
   what costs more than a packet's worth of time behind threads.
3. A picture that could not be kept is a gap with its cause, in the catalog and in the journal: never a silent drop.
4. Who may watch is decided here from the directory (`policy.access`), whatever the proxy let through, and decided again
   whenever the directory changes: a right that ends hangs up.
5. Out-of-dialog requests are taken only over the worker's own authenticated connection to the SIP server.

May import net, store, directory, sip, rtp, mp4, control and policy; never another role.
"""
