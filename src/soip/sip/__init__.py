"""SIP and SDP without input or output: bytes, commands and `now` go in; bytes, events and deadlines come out.

Files, from the ground up:

- `errors`       the one error tree
- `grammar`      tokens, quoted strings, parameters, lists (RFC 3261 §25.1)
- `uri`          SIP URIs, name-addr, and our ranges in the user part
- `message`      requests and responses as received, header lines kept as raw strings
- `reply`        responses made from requests
- `headers`      typed views of header values, made when asked for
- `stream`       messages and keepalives out of a byte stream
- `digest`       challenges, answers, stateless nonces (RFC 7616, RFC 8760)
- `sdp`          session descriptions, reserialised exactly (RFC 8866)
- `offer`        the offer/answer model for H.264 and G.711 (RFC 3264)
- `negotiation`  offers and answers of a call that is up (RFC 3264 §8)
- `flow`         the two ends of the way a message came
- `locate`       where a URI leads, question by question to the DNS (RFC 3263)
- `stun`         Binding requests as keepalives over UDP (RFC 5626)
- `timers`       the timers' lengths, and a heap of many of them
- `transaction`  the four transaction machines as tables (RFC 3261 §17, RFC 6026)
- `layer`        the machines run for many transactions at once
- `dialog`       dialogs (RFC 3261 §12)
- `accept`       between a 2xx and its ACK (RFC 3261 §13)
- `session`      session timers (RFC 4028)

Rules:

1. Standard library only, and of that nothing that touches a socket, a clock or chance (`asyncio socket ssl
   time random secrets uuid os threading sqlite3`): tags, branches, nonces and `now` are handed in.
2. Liberal in, strict out: what peers get slightly wrong is read, what we write is by the grammar.
3. What we do not change leaves as it came: header lines, URIs and SDP lines keep their received text.
4. Every parser takes linear time and bounded memory, and raises `errors.SipError` and nothing else on
   bad input.
5. A value that cannot be written safely (a line break in a header) is refused where it is put in, not
   where it leaves.
"""
