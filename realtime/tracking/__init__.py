"""Tracking of faces: detect, align, associate, smooth."""
