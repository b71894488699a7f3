"""Videos and images with the faces drawn in or obscured."""
