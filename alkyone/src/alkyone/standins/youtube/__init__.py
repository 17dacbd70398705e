"""A stand-in for YouTube: Data API v3 and channel feeds, from a world, with quota, a clock and faults."""

from alkyone.standins.youtube.faults import Fault, Faults
from alkyone.standins.youtube.process import Spawned, spawn
from alkyone.standins.youtube.server import DEFAULT_KEY, DEFAULT_PROJECT, Served, YouTubeStandin

__all__ = ["DEFAULT_KEY", "DEFAULT_PROJECT", "Fault", "Faults", "Served", "Spawned", "YouTubeStandin", "spawn"]
