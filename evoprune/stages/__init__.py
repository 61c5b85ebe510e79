"""One file per step of the flow."""
