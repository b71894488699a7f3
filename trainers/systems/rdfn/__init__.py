"""RDFN."""
