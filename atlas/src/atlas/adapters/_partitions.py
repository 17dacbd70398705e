"""Time partitions: made ahead, listed when closed, dropped when archived."""
