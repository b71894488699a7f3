"""Files of ``torch.export`` (``.pt2``), checked and run by torch."""
