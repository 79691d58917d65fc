"""The HTTP face; the only room that knows the web framework."""
