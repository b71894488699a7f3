"""Tests of nasion.trainers.training."""
