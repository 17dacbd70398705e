-- Statements on partitions, named after the functions that run them; in braces: identifiers and bounds.

-- name: lock_writers
-- Let readers in, but nobody who writes.
LOCK TABLE ONLY {table} IN SHARE ROW EXCLUSIVE MODE;

-- name: lock
-- Let nobody in.
LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE;

-- name: patience
-- Give up on a lock after a while.
SET LOCAL lock_timeout = {milliseconds};

-- name: missing
-- Pick the tables that do not exist.
SELECT name
  FROM unnest(%(names)b::text[]) AS name
 WHERE to_regclass(quote_ident(name)) IS NULL;

-- name: days
-- List the partitions of a table that are named after a day, with their size on disk, indexes included.
SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes
  FROM pg_inherits AS i
  JOIN pg_class AS c ON c.oid = i.inhrelid
 WHERE i.inhparent = to_regclass(quote_ident(%(table)s))
   AND c.relname ~ '_[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]$';

-- name: create
-- A table like the partitioned one; keys, identity and triggers come when it is attached.
CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE);

-- name: is_early
-- Did rows come before their partition?
SELECT EXISTS (SELECT FROM {default} WHERE {column} >= {start} AND {column} < {stop});

-- name: still_triggers
-- Moving a row is neither changing nor deleting it: what refuses that keeps still meanwhile.
ALTER TABLE {default} DISABLE TRIGGER USER;

-- name: copy
-- Copy the rows that came early.
INSERT INTO {partition} SELECT * FROM {default} WHERE {column} >= {start} AND {column} < {stop};

-- name: remove
-- Delete the rows that were copied.
DELETE FROM {default} WHERE {column} >= {start} AND {column} < {stop};

-- name: wake_triggers
-- From here on they refuse again.
ALTER TABLE {default} ENABLE TRIGGER USER;

-- name: attach
-- Rows of these times go there from now on.
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({stop});

-- name: keep_untruncated
-- What refuses changes of rows is inherited; what refuses to empty a table is not.
CREATE TRIGGER untruncated BEFORE TRUNCATE ON {partition} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- name: drop
-- The partition and its rows, whatever their number, at once.
DROP TABLE {partition};
