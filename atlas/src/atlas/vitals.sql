-- What there is to watch. Each statement is bounded: none reads more than a table of the queues, or a day of samples.

-- name: patience
-- Rather no figure than a late one.
SET LOCAL statement_timeout = '5s';

-- name: queues
-- What waits in the small queues: in all, due, leased, under a lease that ran out, and how late the oldest is.
WITH work (queue, due_at, lease_token, leased_until) AS (
    SELECT 'search', next_search_at, lease_token, leased_until FROM search_queue WHERE status = 'ACTIVE'
     UNION ALL
    SELECT 'channels', next_poll_at, lease_token, leased_until FROM channels WHERE in_roster
     UNION ALL
    SELECT stage, next_attempt_at, lease_token, leased_until FROM video_stage WHERE state = 'PENDING'
)
SELECT queue,
       count(*) AS waiting,
       count(*) FILTER (WHERE due_at <= %(now)s) AS due,
       count(*) FILTER (WHERE leased_until > %(now)s) AS leased,
       count(*) FILTER (WHERE lease_token IS NOT NULL AND leased_until <= %(now)s) AS lapsed,
       min(due_at) FILTER (WHERE due_at <= %(now)s) AS oldest_due_at
  FROM work
 GROUP BY queue;

-- name: watchlist
-- The same for the watchlist, by tier.
SELECT tracking_tier AS tier,
       count(*) AS waiting,
       count(*) FILTER (WHERE next_track_at <= %(now)s) AS due,
       count(*) FILTER (WHERE leased_until > %(now)s) AS leased,
       count(*) FILTER (WHERE lease_token IS NOT NULL AND leased_until <= %(now)s) AS lapsed,
       min(next_track_at) FILTER (WHERE next_track_at <= %(now)s) AS oldest_due_at
  FROM watchlist
 GROUP BY tracking_tier;

-- name: dead_stages
-- Work on videos that was given up.
SELECT stage, count(*) AS dead
  FROM video_stage
 WHERE state = 'DEAD'
 GROUP BY stage;

-- name: samples_since
-- Samples taken since then; only the partitions of these days are read.
SELECT count(*) AS samples
  FROM video_stats_log
 WHERE timestamp > %(since)s
   AND timestamp <= %(now)s;

-- name: discoveries_since
-- Videos stored since then.
SELECT count(*) AS discoveries
  FROM videos
 WHERE discovered_at > %(since)s
   AND discovered_at <= %(now)s;

-- name: vault
-- What the vault is proven to hold, by kind.
SELECT kind, count(*) AS shards, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes
  FROM vault_manifest
 GROUP BY kind;

-- name: heartbeat
-- What the heartbeat said last; no row before the first.
SELECT state, since, seen_at
  FROM heartbeat;

-- name: tables
-- Sizes of our tables, their partitions included, and the rows that await a vacuum.
SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text AS name,
       sum(pg_table_size(c.oid))::bigint AS table_bytes,
       sum(pg_indexes_size(c.oid))::bigint AS index_bytes,
       coalesce(sum(s.n_live_tup), 0)::bigint AS live_rows,
       coalesce(sum(s.n_dead_tup), 0)::bigint AS dead_rows
  FROM pg_class AS c
  LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
 WHERE c.relkind = 'r'
   AND c.relnamespace = current_schema::regnamespace
 GROUP BY 1
 ORDER BY 1;

-- name: server
-- The database's size, and how long ago its oldest open transaction began. The server's clock, not ours.
SELECT pg_database_size(current_database()) AS bytes,
       coalesce((
           SELECT clock_timestamp() - min(xact_start)
             FROM pg_stat_activity
            WHERE datname = current_database()
              AND pid <> pg_backend_pid()
       ), interval '0') AS oldest_transaction;
