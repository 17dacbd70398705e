"""Databases of other programs on the server that ours is on."""

from __future__ import annotations

from atlas.errors import ConfigurationError


def database_beside(conninfo: str, name: str) -> dict[str, str]:
    """Tell where the database ``name`` is on the server of ``conninfo``; it is made unless it is there.

    The answer has libpq's words: ``host``, ``port``, ``user``, ``password``, ``dbname``, ``sslmode``, …

    Raises:
        ConfigurationError: it can be neither reached nor made; the message says what to do.
    """
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    theirs = make_conninfo(conninfo, dbname=name, connect_timeout=10)
    try:
        with psycopg.connect(theirs) as found:
            row = found.execute("SELECT current_user, has_schema_privilege('public', 'CREATE')").fetchone()
        if row is not None and not row[1]:
            raise ConfigurationError(
                f"the database {name} is not ours to fill: make the role {row[0]} its owner "
                f"(ALTER DATABASE {name} OWNER TO …)"
            )
    except psycopg.OperationalError as absent:
        try:
            with psycopg.connect(conninfo, autocommit=True, connect_timeout=10) as ours:
                ours.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            raise ConfigurationError(f"the database {name} is closed to us ({_one_line(absent)})") from None
        except psycopg.Error as exc:
            raise ConfigurationError(
                f"the database {name} cannot be made ({_one_line(exc)}): make it, with this role as its owner, "
                "or give the role CREATEDB"
            ) from None
    parts = conninfo_to_dict(conninfo, dbname=name)
    return {word: str(value) for word, value in parts.items() if value is not None}


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())
