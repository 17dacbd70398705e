"""Placeholder, replaced at once."""


class EventBus:
    """Records events."""


events = EventBus()
