"""Processes, devices and the mesh."""
