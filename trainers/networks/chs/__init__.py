"""Network of CHS."""
