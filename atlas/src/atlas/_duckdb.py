"""DuckDB on a vault: a view for each packed kind, which reads nothing but the vault and downloads nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from atlas.errors import ConfigurationError, VaultError, VaultNotFound
from atlas.vault import LocalVault, ShardInfo, VaultStrategy
from atlas.vault.kinds import KINDS, Kind

try:
    import duckdb
    from fsspec.spec import AbstractFileSystem
except ImportError as exc:
    raise ConfigurationError(
        "SQL over the vault needs DuckDB: install pleiades-atlas with its extra analytics, "
        "pip install 'pleiades-atlas[analytics]'"
    ) from exc

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEME = "vault"
_EMPTY = "empty_"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def ask(
    vault: VaultStrategy, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None, *, memory_mb: int
) -> pa.Table:
    """Answer one question.

    Raises:
        ValueError: the query is wrong.
        VaultNotFound: a shard went away meanwhile.
        VaultError: as ``VaultStrategy.shards``.
    """
    shards = {name: vault.shards(name) for name in KINDS}
    files = _Files(vault, [shard for kind in shards.values() for shard in kind])
    try:
        with _connected(files, memory_mb=memory_mb) as connection:
            for name, found in shards.items():
                connection.register(f"{_EMPTY}{name}", KINDS[name].schema.empty_table())
                connection.execute(_view(KINDS[name], found, files.root))
            # From here on a query reads the vault, and neither opens another file or the network nor changes this.
            connection.execute(f"SET allowed_directories = [{_quoted(files.root)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            answer = connection.sql(query, params=parameters)
            if answer is None:
                raise ValueError("SQL over the vault only answers questions")
            return answer.to_arrow_table()
    except duckdb.Error as exc:
        if files.problem is not None:
            raise files.problem from exc
        if isinstance(exc, duckdb.IOException):
            raise VaultNotFound(f"a shard cannot be read: {exc}", provider=vault.provider) from exc
        raise ValueError(str(exc)) from exc


@contextmanager
def _connected(files: _Files, *, memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend a database of its own, which reads ``files`` and spills into a folder that goes away."""
    with (
        tempfile.TemporaryDirectory(prefix="pleiades-sql-") as spill,
        duckdb.connect(config={**_CONFIG, "memory_limit": f"{memory_mb}MB", "temp_directory": spill}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        connection.register_filesystem(files)
        yield connection


def _view(kind: Kind, shards: Sequence[ShardInfo], root: str) -> str:
    # Only where shards of a day meet can a row be there twice; of those the greatest is kept, as everywhere.
    alone: list[str] = []
    meeting: list[str] = []
    for _, group in groupby(shards, key=lambda shard: shard.day):
        paths = [f"{root}{shard.path}" for shard in group]
        (meeting if len(paths) > 1 else alone).extend(paths)
    columns = f"{_EMPTY}{kind.name}"  # whatever the shards have
    parts = [f"SELECT *, NULL::DATE AS date FROM {columns}"]  # noqa: S608 - our own names, here and below
    if alone:
        parts.append(f"SELECT * FROM {_read(kind, alone)}")  # noqa: S608
    if meeting:
        keys = ", ".join(kind.key)
        best = ", ".join(f"{name} DESC NULLS LAST" for name in kind.schema.names if name not in kind.key)
        first = f"row_number() OVER (PARTITION BY {keys}, date ORDER BY {best}) = 1"
        parts.append(f"SELECT * FROM {_read(kind, meeting)} QUALIFY {first}")  # noqa: S608
    return f"CREATE VIEW {kind.name} AS {' UNION ALL BY NAME '.join(parts)}"


def _read(kind: Kind, paths: Sequence[str]) -> str:
    listed = ", ".join(map(_quoted, paths))
    # Older versions lack columns; while there is but one, no file need be opened to know them.
    by_name = str(kind.version > 1).lower()
    return (
        f"read_parquet([{listed}], union_by_name = {by_name},"
        " hive_partitioning = true, hive_types = {'date': DATE}, hive_types_autocast = false)"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Files(AbstractFileSystem):  # type: ignore[misc]
    """The shards of a vault as files for DuckDB, read as the vault reads them, cache and all."""

    protocol = _SCHEME
    cachable = False

    def __init__(self, vault: VaultStrategy, shards: Sequence[ShardInfo]) -> None:
        super().__init__()
        self._vault = vault
        self._shards = {shard.path: shard for shard in shards}
        self.problem: VaultError | None = None  # DuckDB makes text of it
        # A folder DuckDB reads by itself, faster. (Not isinstance: the shared vault is a stand-in.)
        local = vault.provider == LocalVault.provider
        self.root = f"{cast('LocalVault', vault).root}/" if local else f"{_SCHEME}://"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        shard = self._shards[_plain(path)]
        return {"name": shard.path, "size": shard.bytes, "type": "file"}

    def modified(self, path: str) -> datetime:
        return _EPOCH  # they never change

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        try:
            return self._vault._open(_plain(path))
        except VaultError as exc:
            self.problem = exc
            raise


def _plain(path: str) -> str:
    return path.removeprefix(f"{_SCHEME}://")
