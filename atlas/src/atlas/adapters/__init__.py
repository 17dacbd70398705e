"""Data access: all SQL of the agents lives here."""
