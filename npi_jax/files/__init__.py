"""Files on disk: atomic writing, checksums, and reading with size limits."""
