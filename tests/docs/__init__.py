"""Tests of the examples and the notebook in the docs."""
