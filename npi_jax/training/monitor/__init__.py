"""Monitoring of a run: display, sinks, profiler, watchdog, and stopping on request."""
