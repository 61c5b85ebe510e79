"""The search space of any CNN, read from the network itself: channels are followed through its exported graph."""
