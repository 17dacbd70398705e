"""janitor."""
