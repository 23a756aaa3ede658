"""Phenomena, their items in text, and what licenses each item."""
