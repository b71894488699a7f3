"""Tests of nasion.tools.terminal."""
