"""Face tracking: detection, alignment, association and smoothing."""
