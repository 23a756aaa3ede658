"""HTML pages and the terminal's tables."""
