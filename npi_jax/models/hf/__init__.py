"""Hugging Face checkpoints: reading, writing, and the tables that map their fields and tensors."""
