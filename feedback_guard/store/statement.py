"""The few statements of every verdict, compiled once and given to the driver with plain tuples.

For a handful of rows SQLAlchemy works longer on a statement, its parameters and its rows than SQLite does. So what is
asked and written for every contribution goes to the driver as it was compiled, and everything else does not: there is
nothing here but `executemany` and `fetchall`, in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

_AT_ONCE: Final = 256
"""Most values that are asked for in one statement."""
_POSITIONAL: Final = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]


class Statement:
    """One statement whose parameters are given by position.

    Parameters
    ----------
    clause
        What SQLAlchemy would execute. The driver must take and give its values as they are: texts, integers, bytes.
    names
        Its parameters, in the order in which they will be given.
    by_dialect
        Other words of the same for a kind of database, by its name.
    """

    def __init__(
        self, clause: ClauseElement, names: Sequence[str], by_dialect: dict[str, ClauseElement] | None = None
    ) -> None:
        self._clause = clause
        self._names = tuple(names)
        self._by_dialect = by_dialect or {}
        self._texts: dict[str, tuple[str, tuple[int, ...] | None]] = {}

    def many(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute it once for each row.

        Raises
        ------
        DBAPIError
            As SQLAlchemy would raise it.
        """
        text, order = self._for(connection.dialect)
        given = rows if order is None else [tuple(row[place] for place in order) for row in rows]
        try:
            cursor = connection.connection.cursor()
            try:
                if len(given) == 1:
                    cursor.execute(text, given[0])
                else:
                    cursor.executemany(text, given)
            finally:
                cursor.close()
        except Exception as error:
            raise _told(connection, text, error) from error

    def rows(self, connection: Connection, values: tuple[Any, ...]) -> Sequence[tuple[Any, ...]]:
        """Execute it once and return all its rows, as plain tuples.

        Raises
        ------
        DBAPIError
            As SQLAlchemy would raise it.
        """
        text, order = self._for(connection.dialect)
        try:
            cursor = connection.connection.cursor()
            try:
                cursor.execute(text, values if order is None else tuple(values[place] for place in order))
                found: Sequence[tuple[Any, ...]] = cursor.fetchall()
            finally:
                cursor.close()
        except Exception as error:
            raise _told(connection, text, error) from error
        return found

    def _for(self, dialect: Dialect) -> tuple[str, tuple[int, ...] | None]:
        """The words for a kind of database, and which value stands where, if not in the order of the names."""
        found = self._texts.get(dialect.name)
        if found is None:
            clause = self._by_dialect.get(dialect.name, self._clause)
            compiled = clause.compile(
                dialect=_POSITIONAL if dialect.name == "postgresql" else dialect,
                column_keys=list(self._names) or None,
                compile_kwargs={"render_postcompile": True},
            )
            order = tuple(self._names.index(name) for name in getattr(compiled, "positiontup", None) or ())
            found = self._texts[dialect.name] = str(compiled), None if order == tuple(range(len(order))) else order
        return found


def padded(keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Divide keys into parts for statements that ask for any of them: each is as long as a power of two.

    So few statements are compiled; the last key stands there several times.

    Examples
    --------
    >>> list(padded(["a", "b", "c"]))
    [('a', 'b', 'c', 'c')]
    """
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        size = 1 << (len(part) - 1).bit_length()
        yield (*part, *[part[-1]] * (size - len(part)))


def _told(connection: Connection, text: str, error: Exception) -> BaseException:
    """The error as SQLAlchemy raises it, without any parameter in it; a connection that is gone is given up."""
    dialect = connection.dialect
    driver = dialect.loaded_dbapi
    if not isinstance(error, driver.Error):
        return error
    gone = dialect.is_disconnect(error, connection.connection, None)
    if gone:
        connection.invalidate(error)
    return DBAPIError.instance(
        text, (), error, driver.Error, hide_parameters=True, connection_invalidated=gone, dialect=dialect
    )
