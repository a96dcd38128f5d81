"""Trained designs in use: asked a question, exported for others."""
