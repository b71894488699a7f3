"""Tests of nasion.realtime.faces."""
