"""The web role: the HTTP API, the console's files, and the way to the media workers' HTTP faces.

Rules:

1. Who asks is known by a session cookie; each request looks the session up in the directory, so that a user who was
   removed, or whose role or password changed, is out with the next request.
2. What somebody may do is asked of `policy.access`, nowhere else; what is not allowed is answered 403, never hidden.
3. Media bytes are relayed, never parsed: the token in their address is the media worker's to judge (`policy.mediaurl`).
4. Nothing here speaks SIP or opens recordings, and nothing waits for a media worker but the relay. SIP of pages is
   carried as it is; whose page it may be, the SIP server decides.
5. Every answer that is not media is JSON or one of the console's files; an error is `{"error": code, "message": text}`.
6. Whatever comes from outside is bounded: heads and bodies and the time they take to come, connections (`soip.asgi`),
   ranges of time, attempts to sign in.

`role.run(settings)` is the way in. May import net, directory, sip and policy, and `soip.config` for the settings;
never another role.
"""
