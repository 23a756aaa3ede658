"""The built-in English fragment with gold annotations."""
