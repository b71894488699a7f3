"""Tests of nasion.engines.gpu."""
