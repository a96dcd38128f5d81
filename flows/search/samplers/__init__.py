"""The samplers of a sweep, by name."""
