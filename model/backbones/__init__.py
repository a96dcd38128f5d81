"""Vision encoders and LLMs: how each is loaded, and the features that frozen encoders give."""
