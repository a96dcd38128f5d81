"""Trackers of experiments (MLflow is one), and what a stage run records in them."""
