"""Real servers, faults and a long run for live feeds."""
