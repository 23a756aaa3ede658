"""Checkpoints of the ensemble, with checksums."""
