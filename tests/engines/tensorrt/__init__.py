"""Tests of nasion.engines.tensorrt."""
