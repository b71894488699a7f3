"""Tests of nasion.engines."""
