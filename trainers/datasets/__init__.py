"""Readers for the published layouts: point a reader at what was downloaded.

Every reader checks what it reads and names file, line and expected layout when something is wrong.
"""

from .aflw import read_aflw68
from .base import DataError, DetectionSet, LandmarkSet, SampleStream, read_image, split_validation
from .ibug import read_300w, read_pts, read_pts_folders, read_ytf68
from .shipped import TrainingData
from .wider import read_negatives, read_wider

__all__ = [
    "DataError",
    "DetectionSet",
    "LandmarkSet",
    "SampleStream",
    "TrainingData",
    "read_300w",
    "read_aflw68",
    "read_image",
    "read_negatives",
    "read_pts",
    "read_pts_folders",
    "read_wider",
    "read_ytf68",
    "split_validation",
]
