"""Training of the item-to-text model."""
