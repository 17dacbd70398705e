"""Servers that speak the wire format of the services Pleiades talks to."""
