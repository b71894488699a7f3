"""Tests of nasion.realtime.sinks."""
