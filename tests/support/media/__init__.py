"""Videos, streams and frames to read and to write."""
