"""Tests of nasion.trainers.networks.backbones."""
