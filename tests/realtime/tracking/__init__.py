"""Tests of nasion.realtime.tracking."""
