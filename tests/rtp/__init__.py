"""Tests of `soip.rtp`: pure, in virtual time, with random streams against readable twins."""
