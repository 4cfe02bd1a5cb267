"""Surveillance over IP: every camera, recorder, viewer and phone is a SIP endpoint. ARCHITECTURE.md is the map."""

__version__ = "0.1.0.dev0"
