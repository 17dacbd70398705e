"""Noticing the moment a video takes off."""
