"""Tests of nasion.realtime.annotate."""
