"""Tests of nasion.realtime.values."""
