"""Tests of nasion.trainers."""
