"""Tests of nasion.realtime.sources."""
