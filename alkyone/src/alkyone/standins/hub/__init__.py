"""A stand-in for the Hugging Face Hub: repositories with history, large files, tokens, and faults."""

from alkyone.standins.hub.faults import Fault, Faults
from alkyone.standins.hub.repository import Blob, Commit, Refused, Repository
from alkyone.standins.hub.server import Call, HubStandin

__all__ = ["Blob", "Call", "Commit", "Fault", "Faults", "HubStandin", "Refused", "Repository"]
