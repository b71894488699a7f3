"""Video in, faces out."""
