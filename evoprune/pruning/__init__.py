"""What matters in a network, and what goes."""
