"""Landmarks of a face as an array that knows its scheme."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ...engines.errors import NasionError
from .scheme import LandmarkScheme


class Landmarks(np.ndarray[Any, np.dtype[np.float32]]):
    """Landmarks of a face: a float32 array (n, 2) of x, y that can also be indexed by part name.

    ``landmarks["left_eye"]`` is an array (k, 2) of the landmarks of that part. ``landmarks[36]`` and any other index
    behave as for a plain array. Part names are those of the scheme.

    Attributes:
        scheme: the landmark scheme; None if it is unknown.

    Examples:
        >>> import nasion
        >>> (face,) = nasion.detect("face.png")
        >>> face.landmarks["left_eye"].shape, face.landmarks[36].shape, face.landmarks.scheme.name
        ((6, 2), (2,), 'ibug-68')
    """

    scheme: LandmarkScheme | None

    def __new__(cls, points: ArrayLike, scheme: LandmarkScheme | None = None) -> Self:
        """Build landmarks of a scheme from points (n, 2)."""
        array = np.asarray(points, np.float32).view(cls)
        array.scheme = scheme
        return array

    def __array_finalize__(self, parent: object) -> None:
        """Copy the scheme from the parent array."""
        self.scheme = getattr(parent, "scheme", None)

    def __getitem__(self, key: Any) -> Any:
        """Return the landmarks of a part by its name; any other key indexes as in a plain array.

        Raises:
            NasionError: the scheme has no such part, or is unknown.
        """
        if not isinstance(key, str):
            return np.asarray(self)[key]
        if self.scheme is None:
            raise NasionError(
                f"these {len(self)} landmarks have no part {key!r}: their scheme is not known; use indices, or make "
                "the scheme known with nasion.add_scheme"
            )
        return np.asarray(self)[list(self.scheme.part(key))]

    def __repr__(self) -> str:
        """Return one line that shows the shape and the scheme; ``str`` shows the coordinates."""
        scheme = f", {self.scheme.name}" if self.scheme else ""
        return f"Landmarks({'x'.join(map(str, self.shape))}{scheme})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the landmarks with their scheme."""
        return Landmarks, (np.array(self), self.scheme)
