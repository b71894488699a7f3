"""Tests of nasion.tools.kernels."""
