"""Tests of nasion.realtime.images."""
