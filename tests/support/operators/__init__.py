"""Compiled operators, and the tests that every implementation passes."""
