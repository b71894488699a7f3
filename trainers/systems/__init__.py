"""What trains the networks of the papers: one file a system, each with its recipes."""
