"""Tests of nasion.realtime."""
