"""``alkyone soak``: the whole at work for long, and what became of it."""
