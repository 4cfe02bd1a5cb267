"""Session descriptions of real devices, as they were captured. Each shows a habit that a test names."""

from __future__ import annotations

from tests.sip.samples import wire

# baresip 1.0.0 (Debian 12) as a camera, answering our recorder's offer: it takes the last format of its own
# packetization-mode without looking at the profile, writes its own profile to it, and names a second format.
BARESIP_ANSWER = wire("""
v=0
o=- 914169978 363514924 IN IP4 192.0.2.2
s=-
c=IN IP4 192.0.2.2
t=0 0
a=tool:baresip 1.0.0
m=video 12706 RTP/AVP 98 99
a=rtpmap:98 H264/90000
a=fmtp:98 packetization-mode=1;profile-level-id=42e01f
a=rtpmap:99 H264/90000
a=fmtp:99 packetization-mode=0;profile-level-id=42e01f
a=sendonly
a=label:2
a=ssrc:1135599369 cname:sip:cam1@192.0.2.2
a=framerate:25.00
a=rtcp-fb:* nack pli
a=content:main
m=audio 11134 RTP/AVP 0 8
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=sendonly
a=label:1
a=ssrc:2909624753 cname:sip:cam1@192.0.2.2
a=minptime:20
a=ptime:20
""")

# The same as a viewer: audio before video, packetization-mode 0 before 1, feedback without the AVPF profile.
BARESIP_OFFER = wire("""
v=0
o=- 2057001817 787265231 IN IP4 192.0.2.2
s=-
c=IN IP4 192.0.2.2
t=0 0
a=tool:baresip 1.0.0
m=audio 20876 RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=sendrecv
a=label:1
a=rtcp-rsize
a=ssrc:1611757232 cname:sip:cam1@192.0.2.2
a=minptime:20
a=ptime:20
m=video 9358 RTP/AVP 96 97 34 98 99
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=0;profile-level-id=42e01f
a=rtpmap:97 H264/90000
a=fmtp:97 packetization-mode=1;profile-level-id=42e01f
a=rtpmap:34 H263/90000
a=fmtp:34 CIF=1;CIF4=1
a=rtpmap:98 MP4V-ES/90000
a=fmtp:98 profile-level-id=3
a=rtpmap:99 H265/90000
a=fmtp:99 profile-id=1
a=sendrecv
a=label:2
a=rtcp-rsize
a=ssrc:1009400905 cname:sip:cam1@192.0.2.2
a=framerate:25.00
a=rtcp-fb:* nack pli
a=content:main
""")
