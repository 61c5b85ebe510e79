"""NSGA-III over codes. No torch, no files."""
