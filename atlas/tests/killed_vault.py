"""Not a test: does one thing to a copy of a vault, again and again, killed (-9) before each step on the file system.

    killed_vault.py SEED TARGET ACTION ARGUMENTS

leaves one vault per step in ``TARGET/0``, ``TARGET/1`` … and prints the steps, as JSON, in the order they were reached;
the last vault is that of a run nobody killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.vault import LocalVault

STEPS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir", "close")


def act(vault: LocalVault, action: str, arguments: Any) -> None:
    if action == "write":
        vault.write({path: data.encode() for path, data in arguments.items()}, "under threat")
    elif action == "delete":
        vault.delete(arguments, "under threat")
    else:
        vault.list_strict()


def die_before(step: int, steps: list[list[str]]) -> None:
    def dangerous(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*arguments: Any, **options: Any) -> Any:
            if len(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            steps.append([name, *map(_told, arguments[:2])])
            return real(*arguments, **options)

        return perform

    for name in STEPS:
        setattr(os, name, dangerous(name, getattr(os, name)))


def _told(argument: object) -> str:
    if isinstance(argument, int):
        try:
            return str(Path(f"/proc/self/fd/{argument}").readlink())
        except OSError:
            return str(argument)
    return str(argument) if isinstance(argument, str | os.PathLike) else type(argument).__name__


def main(seed: Path, target: Path, action: str, arguments: Any) -> list[list[str]]:
    step = 0
    while True:
        root = target / str(step)
        shutil.copytree(seed, root)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            steps: list[list[str]] = []
            die_before(step, steps)
            act(LocalVault(root), action, arguments)
            with os.fdopen(write, "w") as pipe:
                json.dump(steps, pipe)
                pipe.flush()
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if status == 0:
            return json.loads(told)  # type: ignore[no-any-return]
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"step {step}: status {status}")
        step += 1


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])), sys.stdout)
