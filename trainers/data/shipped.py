"""Training data of the shipped networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .base import DetectionSet, LandmarkSet, check_validation, split_validation
from .faults import readable, sound_boxes, sound_faces
from .readers.aflw import read_aflw68
from .readers.ibug import read_300w, read_ytf68
from .readers.pools import read_pools
from .readers.wider import read_negatives, read_wider, read_wider2

_EVERY = {"infants": 4, "aflw68-context": 4}
"""Sets of which more than every twelfth image is held out, because no other set covers their kind of images."""
WRONG_BOXES = 0.01
"""Share of WIDER FACE's boxes that may have no area."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All training images of the shipped networks.

    Attributes:
        faces: the labelled faces of 300W, AFLW and YouTube Faces, in this order, then the pools that exist.
        wider: images of crowds with bounding boxes.
        negatives: images without faces.
    """

    faces: tuple[LandmarkSet, ...]
    wider: DetectionSet
    negatives: tuple[Path, ...]

    @classmethod
    def read(cls, root: Path, *, skip_bad: int = 0) -> tuple[TrainingData, TrainingData]:
        """Read the training data in ``root``, split into a training and a validation part.

        Raises:
            DataError: a set is missing or malformed, has too few images, or more than ``skip_bad`` of its labels
                cannot be right, or of its held-out images cannot be read.
        """
        faces = (read_300w(root), read_aflw68(root), read_ytf68(root), *read_pools(root))
        wider, negatives = read_wider(root), read_negatives(root)
        for more in read_wider2(root):
            wider = wider.joined(more)
        faces = tuple(sound_faces(data, skip=skip_bad) for data in faces)
        wider = sound_boxes(wider, skip=skip_bad, share=WRONG_BOXES)
        for data in faces:
            check_validation(data.name, len(data), every=_EVERY.get(data.name, 12))
        check_validation(wider.name, len(wider))
        check_validation("negatives", len(negatives))
        parts = [split_validation(len(data), every=_EVERY.get(data.name, 12)) for data in faces]
        parts = [split_validation(len(data)) for data in (wider, negatives)] + parts

        def part(k: int) -> TrainingData:
            return cls(
                tuple(data.pick(indices[k]) for data, indices in zip(faces, parts[2:], strict=True)),
                wider.pick(parts[0][k].tolist()),
                tuple(negatives[i] for i in parts[1][k]),
            )

        return part(0), part(1)._readable(skip_bad)

    def _readable(self, skip: int) -> TrainingData:
        """Return the data without up to ``skip`` images of each set that cannot be read."""
        return TrainingData(
            tuple(data.pick(readable(data.files, skip=skip)) for data in self.faces),
            self.wider.pick(readable(self.wider.files, skip=skip)),
            tuple(self.negatives[i] for i in readable(self.negatives, skip=skip)),
        )
