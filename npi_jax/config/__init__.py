"""The configuration of an experiment: schema, presets, config files, overrides and errors."""
