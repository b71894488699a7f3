"""Tests of nasion.trainers.evaluation."""
