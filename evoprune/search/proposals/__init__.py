"""Where new codes come from."""
