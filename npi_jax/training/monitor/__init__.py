"""Monitoring of a run: display, sinks, profiler and watchdog; and stopping on request."""
