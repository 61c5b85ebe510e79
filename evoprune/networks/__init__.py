"""The network itself: building, devices, weights on disk."""
