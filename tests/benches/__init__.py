"""Tests of `benches`: that they run and count right; what they measure is for `make bench`."""
