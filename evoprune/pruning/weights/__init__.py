"""Single weights: which ones go, and the masks that keep them at zero. Any network of `torch.nn` layers."""
