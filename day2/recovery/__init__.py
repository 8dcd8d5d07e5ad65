"""How a backup becomes the cluster again, or is proven beside it."""
