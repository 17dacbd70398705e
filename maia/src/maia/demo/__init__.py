"""Two weeks of life in about a minute: real database, real vault, real HTTP, a stand-in YouTube, a virtual clock."""
