"""How the counters of generated videos move: slow saturation, a day's rhythm, bursts, audits, freezes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alkyone.worlds.chance import Dice, Floats, Ints, as_ints

HOUR = 3600.0
BURST_SHARE = 0.04
_MOST_VIEWS = 3e9


@dataclass(frozen=True)
class Growth:
    """The curves of all videos of a world, an array a parameter; times are seconds since 1970, ages hours."""

    published: Ints
    final: Floats
    tau: Floats
    alpha: Floats
    burst_size: Floats
    burst_age: Floats
    burst_width: Floats
    audit_age: Floats
    audit_share: Floats
    audit_length: Floats
    freeze: Floats
    like_rate: Floats
    comment_rate: Floats
    likes_hidden: NDArray[np.bool_]
    comments_hidden: NDArray[np.bool_]

    @classmethod
    def draw(cls, dice: Dice, published: Ints, audience: Floats, short: NDArray[np.bool_]) -> Growth:
        """Draw a curve for every video; ``audience`` is the subscribers of its channel."""
        luck = np.exp(1.25 * dice.normal("luck") - 1.6)
        final = np.clip(30 + audience**0.93 * luck * np.where(short, 1.8, 1.0), 5, _MOST_VIEWS)
        bursts = dice.chance("burst", BURST_SHARE)
        # Pareto: most bursts treble a video, a few make a hit of an unknown channel.
        gain = np.minimum(2.5 * dice.uniform("burst.gain") ** -0.75, 400)
        burst = final * gain + 20_000 * dice.uniform("burst.floor")
        audits = dice.uniform("audit")
        small, halved = audits < 0.04, audits > 0.996
        return cls(
            published=published,
            final=final,
            tau=np.where(short, 9.0, 20.0) * np.exp(0.5 * dice.normal("tau")),
            alpha=dice.between("alpha", 0.7, 1.4),
            burst_size=np.where(bursts, np.minimum(burst, _MOST_VIEWS), 0.0),
            burst_age=np.clip(34 * np.exp(0.8 * dice.normal("burst.age")), 5, 400),
            burst_width=dice.between("burst.width", 2.5, 9.0),
            audit_age=np.where(small | halved, dice.between("audit.age", 12, 300), np.inf),
            audit_share=np.where(halved, 0.5, dice.between("audit.share", 0.002, 0.03)),
            # A correction by a few views stays; a counter that loses half is put right within hours.
            audit_length=np.where(halved, dice.between("audit.length", 4, 14), np.inf),
            freeze=np.where(dice.chance("freeze", 0.05), dice.between("freeze.hours", 0.5, 3.0), 0.0),
            like_rate=np.clip(np.exp(0.55 * dice.normal("likes") - 3.4), 0.002, 0.16),
            comment_rate=np.clip(np.exp(0.8 * dice.normal("comments") - 6.2), 1e-5, 0.03),
            likes_hidden=dice.chance("likes.hidden", 0.03),
            comments_hidden=dice.chance("comments.hidden", 0.04),
        )

    def views(self, index: Ints, at: float | Floats) -> Ints:
        """Count the views of videos at an instant, or at one each; whole numbers, which floats hold exactly here."""
        published = self.published[index]
        freeze = self.freeze[index]
        seconds = np.maximum(at - published, 0.0)
        step = np.where(freeze > 0, freeze * HOUR, 1.0)
        age = np.where(freeze > 0, np.floor(seconds / step) * step, seconds) / HOUR
        # The audience sleeps too. The slope of the added wave stays below one, so age never runs backwards.
        turn = 2.0 * np.pi / 24.0
        phase = published / HOUR * turn
        age = np.maximum(age + 1.5 * (np.sin(phase + age * turn - 2.0) - np.sin(phase - 2.0)), 0.0)
        settled = self.final[index] * (1.0 - (1.0 + age / self.tau[index]) ** -self.alpha[index])
        views = settled + self.burst_size[index] * _rise(age, self.burst_age[index], self.burst_width[index])
        since = age - self.audit_age[index]
        audited = (since >= 0) & (since < self.audit_length[index])
        return as_ints(np.where(audited, views * (1.0 - self.audit_share[index]), views))

    def likes(self, index: Ints, views: Ints) -> Ints:
        """Count the likes that go with so many views."""
        return as_ints(views * self.like_rate[index])

    def comments(self, index: Ints, views: Ints) -> Ints:
        """Count the comments that go with so many views."""
        return as_ints(views * self.comment_rate[index])


def _rise(age: Floats, middle: Floats, width: Floats) -> Floats:
    """Climb from 0 at age 0 to 1, half of it around ``middle``."""
    floor = 1.0 / (1.0 + np.exp(middle / width))
    height = 1.0 / (1.0 + np.exp(np.clip(-(age - middle) / width, -60, 60)))
    return np.clip((height - floor) / (1.0 - floor), 0.0, 1.0)
