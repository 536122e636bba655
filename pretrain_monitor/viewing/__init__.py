"""A run as somebody looks at it: whole, at full resolution, while it is written."""
