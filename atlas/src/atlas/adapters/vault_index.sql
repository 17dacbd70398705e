-- name: shards
-- The shards that were proven to be in the vault.
SELECT path, kind, day, digest, rows, bytes, min_time, max_time
  FROM vault_manifest
 ORDER BY kind, day, path;

-- name: forget
-- Strike shards out, and tell which were there.
DELETE FROM vault_manifest
 WHERE path = ANY(%(paths)s::text[])
RETURNING path;
