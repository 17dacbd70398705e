"""The ``maia`` command."""

from __future__ import annotations

from atlas.cli import run
from maia.cli import app


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 failure, 2 wrong settings or usage."""
    run(app)


if __name__ == "__main__":
    main()
