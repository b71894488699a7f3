"""Tests of nasion.trainers.systems."""
