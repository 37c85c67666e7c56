"""Backbones: the paper's two Transformers, and any other network by the names of its modules."""
