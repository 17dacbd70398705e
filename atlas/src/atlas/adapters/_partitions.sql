-- Statements on partitions, named after the functions that run them. What changes a table is in the schema, as functions
-- that work in its owner's name.

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
-- Make a partition; tells whether it was not there.
SELECT make_partition(%(table)s, %(name)s, %(start)s, %(stop)s, %(patience)s) AS made;

-- name: patience
-- Give up on a lock after a while, until the transaction ends.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true);

-- name: lock
-- Let nobody else in.
SELECT lock_partitioned(%(table)s);

-- name: drop
-- The partition and its rows, whatever their number, at once; tells whether it was there.
SELECT drop_partition(%(table)s, %(name)s) AS dropped;
