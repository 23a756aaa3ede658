"""Prepared data on disk: the cache, arrays, and worker processes."""
