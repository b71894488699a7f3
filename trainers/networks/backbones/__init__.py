"""Backbones of the papers' networks: ResNet, HRNet and the stacked hourglass."""
