"""Networks of SD-HRNet: supernets, their slimming, and the slimmed graphs."""
