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

-- name: recognise
-- Take the first vault for ours, and another one as long as the index names no shard; tell which is ours.
INSERT INTO vault_identity AS known (id, provider, seen_at)
VALUES (%(id)s, %(provider)s, %(now)s)
    ON CONFLICT (one) DO UPDATE
   SET id = CASE WHEN EXISTS (SELECT FROM vault_manifest) THEN known.id ELSE excluded.id END,
       provider = CASE WHEN EXISTS (SELECT FROM vault_manifest) THEN known.provider ELSE excluded.provider END
RETURNING id, provider, (SELECT count(*) FROM vault_manifest) AS shards;

-- name: adopt
-- Take another vault for ours from now on.
INSERT INTO vault_identity (id, provider, seen_at)
VALUES (%(id)s, %(provider)s, %(now)s)
    ON CONFLICT (one) DO UPDATE
   SET id = excluded.id, provider = excluded.provider, seen_at = excluded.seen_at;
