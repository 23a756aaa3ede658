"""Noise-corrected alignment between the gradients of tasks."""
