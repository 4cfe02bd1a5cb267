"""The SIP server: pure parts in virtual time, the whole role over real sockets on loopback."""
