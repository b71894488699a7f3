"""Tests of nasion.trainers.networks."""
