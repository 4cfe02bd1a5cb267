"""Tests of the media role."""
