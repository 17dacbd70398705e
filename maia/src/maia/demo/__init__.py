"""Two weeks of life in a few minutes: real database, real vault, real HTTP, a stand-in YouTube, a virtual clock."""
