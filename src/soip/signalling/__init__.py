"""The SIP server's role: registrar, stateful proxy, location table, trust.

Who registers where is held in memory and answered from memory; the directory is written behind and read back
at the next start. Everything that decides is a pure function or a plain object with an injected `now`;
`server.py`, `forward.py` and `role.py` are the shell around them, and speak through `net.sip`.

Rules:

1. The caller decides the way: a media server reaches the camera's own binding, everyone else the camera's
   media instance (`routing.py` is the whole table).
2. One challenger per path: whoever crosses this proxy outside a dialog has been asked here who he is, or by the server
   at the other end of a route, and only then carries our P-Asserted-Identity. A foreign one crosses only from a route
   that lets callers in, and only towards people.
3. No database round trip stands between a REGISTER of a known account and its answer.
4. Asserting is a right of an account or of a certified name (`sip_peers`, `sip_routes`), never of an address. The one
   exception is a flow: what comes over the flow of an authenticated REGISTER (keepalives), over that of our own at
   another server, or over a flow named in our own flow token (requests in a dialog).
5. Everything a stranger can make us keep is counted and bounded (`limits.py`, the table sizes).

May import `net`, `directory`, `sip`, `control`, `policy` and the settings; never another role, `cli` or `serve`.
"""
