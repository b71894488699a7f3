"""Tests of nasion.realtime.sources.packets."""
