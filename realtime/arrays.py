"""The two kinds of array that everything here handles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Points, boxes, transforms, scores."""
Image = NDArray[np.uint8]
"""BGR, (height, width, 3)."""
