"""Tests of nasion.trainers.export."""
