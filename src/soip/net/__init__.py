"""The only room with SIP and RTP sockets: it carries what the pure rooms `sip` and `rtp` decide.

SIP, from the ground up:

- `errors`        the one error tree
- `limits`        what an endpoint takes from the network at most
- `target`        where a request may go: transport, host, port
- `resolver`      the DNS, for `sip.locate`, in bounds
- `wire`          what lies between a connection's bytes and SIP
- `tls`           the wire that is TLS; who we are and whom we believe
- `websocket`     the wire that is WebSocket, for browsers
- `certificates`  making a CA and certificates
- `streams`       connections, accepted and opened
- `transport`     the sockets: UDP and TCP on one port, others on theirs
- `exchange`      `IncomingRequest` and `Outgoing`: the two sides of an exchange
- `sip`           `SipEndpoint`: transports and transactions; for user agents and for a proxy
- `auth`          answers to 401 and 407, remembered
- `backoff`       pauses between attempts
- `flowkeeper`    one TCP connection kept up (RFC 5626)
- `registration`  one REGISTER kept fresh
- `call`          `Call` and `IncomingCall`: one INVITE dialog
- `inviting`      one outgoing INVITE until it is answered
- `ua`            `UserAgent`: registers, calls, is called

RTP: `rtp`, `ports`, `poll`, `gso` (port pairs, socket pairs, one poll for all sockets, batched sending).

Rules:

1. Shells only: what a message means is decided in `sip` and `rtp`; here are sockets, clocks and chance.
2. Everything from the network is bounded: size, count, time. What a limit refuses is counted, never queued.
3. One event loop, no threads, no locks; a callback never blocks and never awaits inside a transaction.
4. Nothing a peer sends raises out of a socket callback.
5. May import `soip.sip` and `soip.rtp`; never the roles, the store, the directory or the settings.
"""
