"""Ask a server how it is, for health checks where there is no curl: ``python -m atlas.probe URL``.

Exit code 0 when it answers well, 1 when it does not; nothing but the standard library, for it runs every few seconds.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

TIMEOUT_S = 5.0


def options() -> argparse.ArgumentParser:
    """What it may be asked."""
    parser = argparse.ArgumentParser(prog="python -m atlas.probe", description="Ask a server how it is.")
    parser.add_argument("url", help="http:// or https:// address to get")
    parser.add_argument("--says", default="", metavar="TEXT", help="what the answer must hold")
    return parser


def problem(url: str, says: str = "", *, timeout: float = TIMEOUT_S) -> str | None:
    """Say what is wrong with the server at ``url``, or None."""
    if not url.startswith(("http://", "https://")):
        return "not an address of HTTP"
    try:
        # No proxy: what is asked is in this container.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=timeout) as answer:
            text = answer.read().decode(errors="replace")
    except urllib.error.HTTPError as exc:
        return f"HTTP {exc.code}"
    except (OSError, ValueError) as exc:
        return str(getattr(exc, "reason", exc))
    return None if says in text else f"the answer does not hold {says!r}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask once."""
    asked = options().parse_args(arguments)
    if wrong := problem(asked.url, asked.says):
        sys.stderr.write(f"{asked.url}: {wrong}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
