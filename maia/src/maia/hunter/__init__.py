"""hunter."""
