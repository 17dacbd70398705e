-- The statements on runs and on the whole. A double underscore separates a method from its steps.

-- name: claim_work
-- Take the lease when nobody has it or it ran out.
INSERT INTO work_leases AS w (name, lease_token, leased_until)
VALUES (%(name)s, %(token)s, %(now)s + %(lease)s)
    ON CONFLICT (name) DO UPDATE
   SET lease_token = excluded.lease_token,
       leased_until = excluded.leased_until
 WHERE w.leased_until <= %(now)s
RETURNING lease_token;

-- name: renew_work
-- Hold the lease for longer.
UPDATE work_leases
   SET leased_until = %(now)s + %(lease)s
 WHERE name = %(name)s
   AND lease_token = %(token)s;

-- name: release_work
-- Give the lease back.
DELETE FROM work_leases
 WHERE name = %(name)s
   AND lease_token = %(token)s;

-- name: forget_lapsed_work
-- Remove the leases that ran out: of workers that died, and of what was claimed for a day.
DELETE FROM work_leases
 WHERE leased_until <= %(now)s;

-- name: fetch_fastest
-- The videos with the most views an hour.
SELECT w.video_id, v.title, w.published_at, w.last_views AS views, w.rate
  FROM watchlist AS w
  LEFT JOIN videos AS v ON v.id = w.video_id
 WHERE w.rate IS NOT NULL
 ORDER BY w.rate DESC, w.video_id
 LIMIT %(limit)s;

-- name: overview
-- How many of each there are.
SELECT (SELECT count(*) FROM videos) AS videos,
       (SELECT count(*) FROM channels) AS channels,
       (SELECT count(*) FROM video_stats_log) AS samples_hot,
       (SELECT count(*) FROM search_queue WHERE status = 'ASLEEP') AS asleep_terms,
       (SELECT count(*) FROM video_stage WHERE state = 'DEAD') AS dead_stages,
       pg_database_size(current_database()) AS sql_bytes;

-- name: overview__tiers
-- The watchlist by tier.
SELECT tracking_tier AS tier, count(*) AS videos
  FROM watchlist
 GROUP BY tracking_tier;

-- name: overview__backlog
-- What waits in each queue.
WITH work (queue, due_at, leased_until) AS (
    SELECT 'search', next_search_at, leased_until FROM search_queue WHERE status = 'ACTIVE'
     UNION ALL
    SELECT 'channels', next_poll_at, leased_until FROM channels WHERE in_roster
     UNION ALL
    SELECT kind, next_read_at, leased_until FROM sources
     UNION ALL
    SELECT 'tracking', next_track_at, leased_until FROM watchlist
     UNION ALL
    SELECT stage, next_attempt_at, leased_until FROM video_stage WHERE state = 'PENDING'
)
SELECT queue,
       count(*) AS total,
       count(*) FILTER (WHERE due_at <= %(now)s) AS due,
       count(*) FILTER (WHERE leased_until > %(now)s) AS leased,
       min(due_at) FILTER (WHERE due_at <= %(now)s) AS oldest_due_at
  FROM work
 GROUP BY queue;

-- name: day_ahead
-- What will be due before a moment, and how often; queues that may be long are counted up to a limit. A back catalogue
-- counts as ten pages.
SELECT (SELECT count(*) FROM search_queue WHERE status = 'ACTIVE' AND next_search_at < %(until)s) AS terms,
       (SELECT coalesce(sum(1 + floor(2 * upload_rate * extract(epoch FROM %(until)s - greatest(next_poll_at, %(now)s))
                                      / 86400)), 0)::bigint
          FROM channels
         WHERE in_roster
           AND next_poll_at < %(until)s)
     + (SELECT coalesce(sum(CASE kind WHEN 'walk' THEN 10 ELSE 1 END), 0)
          FROM sources
         WHERE kind IN ('walk', 'chart')
           AND next_read_at < %(until)s) AS polls,
       (SELECT count(*)
          FROM (SELECT FROM watchlist WHERE next_track_at < %(until)s LIMIT %(limit)s) AS due) AS tracking,
       (SELECT count(*)
          FROM (SELECT
                  FROM video_stage
                 WHERE state = 'PENDING' AND stage = 'painter' AND next_attempt_at < %(until)s
                 LIMIT %(limit)s) AS due) AS painter,
       (SELECT count(*)
          FROM (SELECT
                  FROM video_stage
                 WHERE state = 'PENDING' AND stage = 'scribe' AND next_attempt_at < %(until)s
                 LIMIT %(limit)s) AS due) AS scribe;

-- name: overview__vault
-- What the vault is proven to hold, by kind.
SELECT kind, count(*) AS shards, sum(rows)::bigint AS rows, sum(bytes)::bigint AS bytes
  FROM vault_manifest
 GROUP BY kind;
