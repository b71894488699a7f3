"""Corpus of real container and codec combinations, made by ffmpeg, and mutated copies of some of them."""
