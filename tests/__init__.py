"""The tests of SoIP: one folder per room, `interop` with real peers, `faults`, and `e2e` with a browser."""
