"""Networks of the pixel-wise classification (PWC) study."""
