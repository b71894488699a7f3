"""Tests of nasion.realtime.exchange."""
