"""Networks: shared parts, the shipped networks, and a folder for each system of the papers."""
