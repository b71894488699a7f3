"""Tests of nasion.engines.operators."""
