"""Tables of README and docs by subject, for ``figures.py``; each module has its tables by name."""
