"""Network of RDFN."""
