"""Tests of nasion.tools.commands."""
