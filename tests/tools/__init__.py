"""Tests of nasion.tools."""
