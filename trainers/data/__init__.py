"""Readers of data sets in their published layouts.

Each reader checks its input. An error names the file, the line and the expected layout.
"""

from .base import FOREHEAD, DataError, DetectionSet, LandmarkSet, Layout, Part, check_validation, split_validation
from .catalogue import SETS, layout_of, read_set, recognised, training_faces
from .faults import Fault, box_faults, landmark_faults, readable, sound_boxes, sound_faces, unreadable
from .images import ImageReader, SampleStream, batch_of_pixels, pixels_of, read_image, read_images
from .readers.aflw import read_aflw, read_aflw68, read_aflw_frontal, read_merl_rav
from .readers.cofw import read_cofw, read_cofw68
from .readers.ibug import (
    read_300vw,
    read_300w,
    read_300w_private,
    read_masked_300w,
    read_pts,
    read_pts_folders,
    read_ytf68,
)
from .readers.wflw import read_wflw
from .readers.wider import read_negatives, read_wider
from .shipped import TrainingData

__all__ = [
    "FOREHEAD",
    "SETS",
    "DataError",
    "DetectionSet",
    "Fault",
    "ImageReader",
    "LandmarkSet",
    "Layout",
    "Part",
    "SampleStream",
    "TrainingData",
    "batch_of_pixels",
    "box_faults",
    "check_validation",
    "landmark_faults",
    "layout_of",
    "pixels_of",
    "read_300vw",
    "read_300w",
    "read_300w_private",
    "read_aflw",
    "read_aflw68",
    "read_aflw_frontal",
    "read_cofw",
    "read_cofw68",
    "read_image",
    "read_images",
    "read_masked_300w",
    "read_merl_rav",
    "read_negatives",
    "read_pts",
    "read_pts_folders",
    "read_set",
    "read_wflw",
    "read_wider",
    "read_ytf68",
    "readable",
    "recognised",
    "sound_boxes",
    "sound_faces",
    "split_validation",
    "training_faces",
    "unreadable",
]
