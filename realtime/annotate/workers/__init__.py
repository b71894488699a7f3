"""Workers that annotate inputs: this process, others of this machine, or those of a Ray cluster."""
