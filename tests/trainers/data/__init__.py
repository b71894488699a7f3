"""Tests of nasion.trainers.data."""
