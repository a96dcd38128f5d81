"""Scenes, pictures and data sets that the user gives, and the networks of pseudo-annotation."""
