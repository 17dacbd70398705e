"""A remote vault that does not answer is left in peace for a while: who asks meanwhile is told so at once.

What that says is ``VaultUnavailable``, as when the provider itself does not answer: nobody could look. It never means
that something is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Literal, ParamSpec, TypeVar

from atlas.errors import CircuitOpen, VaultUnavailable
from atlas.vault.cache import RemoteVault

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V", bound=RemoteVault)

_inside = threading.local()  # one primitive may use another: that is one call


def guarded(
    what: Literal["reading", "writing"],
) -> Callable[[Callable[Concatenate[V, P], T]], Callable[Concatenate[V, P], T]]:
    """Put a primitive behind the circuit breaker of its vault; reading and writing have one each.

    A provider that takes no more writes for now, as when an hour's commits are spent, may be read all the same.
    """

    def decorate(primitive: Callable[Concatenate[V, P], T]) -> Callable[Concatenate[V, P], T]:
        @wraps(primitive)
        def call(vault: V, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if getattr(_inside, "it", False):
                return primitive(vault, *args, **kwargs)
            from atlas.breakers import breakers  # its library is not worth an import of a vault

            _inside.it = True
            try:
                with breakers.guarding(f"{what} {vault.address}", failing=VaultUnavailable):
                    return primitive(vault, *args, **kwargs)
            except CircuitOpen as exc:
                raise VaultUnavailable(str(exc), provider=vault.provider) from exc
            finally:
                _inside.it = False

        return call

    return decorate
