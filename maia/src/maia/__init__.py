"""The agents of Pleiades; importing this opens nothing and starts no engine."""
