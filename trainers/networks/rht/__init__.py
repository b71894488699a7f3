"""Networks with transformers: RHT, and TransPose, which it is compared with."""
