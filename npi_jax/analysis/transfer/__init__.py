"""The effect of removing a task's data on every task."""
