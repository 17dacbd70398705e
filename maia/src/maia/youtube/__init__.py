"""The YouTube Data API as typed, asynchronous calls: ``async with YouTube(executor) as youtube: …``.

``client`` asks, ``parse`` and ``feed`` read answers into ``models``, ``errors`` says what a refusal means.
"""
