"""Tests of nasion.realtime.threads."""
