"""Layers of the model, and how they are computed."""
