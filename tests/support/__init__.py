"""Code that tests share: fakes, samples of media and data, and small helpers."""
