"""How important every channel of a network is."""
