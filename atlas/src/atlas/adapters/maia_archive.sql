-- The Janitor's statements. A double underscore separates a method from its steps.

-- name: closed_days
-- Count the samples before an instant by UTC day, in partitions or not.
SELECT (timestamp AT TIME ZONE 'UTC')::date AS day, count(*) AS rows
  FROM video_stats_log
 WHERE timestamp < %(before)s
 GROUP BY 1;

-- name: read_day
-- The samples of a day, in no order.
SELECT video_id, timestamp, views, likes, comment_count
  FROM video_stats_log
 WHERE timestamp >= %(start)s
   AND timestamp < %(stop)s

-- name: archive_cold_stats__count
-- Count the samples of a day.
SELECT count(*)
  FROM video_stats_log
 WHERE timestamp >= %(start)s
   AND timestamp < %(stop)s;

-- name: archive_cold_stats__loose
-- Delete the day's samples that came without a partition.
DELETE FROM video_stats_log_default
 WHERE timestamp >= %(start)s
   AND timestamp < %(stop)s;

-- name: fetch_expired_videos
-- The hot queue's oldest videos, from a place on, whose stages have ended (a dead stage has); with the title that they
-- had when they were discovered.
SELECT v.id, v.channel_id, c.title AS channel_title,
       coalesce((SELECT h.old_title FROM video_history AS h WHERE h.video_id = v.id ORDER BY h.changed_at LIMIT 1),
                v.title) AS title,
       v.published_at, v.duration, v.tags, v.category_id, v.default_language, v.wiki_topics, v.discovered_at
  FROM videos AS v
  JOIN channels AS c ON c.id = v.channel_id
 WHERE v.discovered_at < %(before)s
   AND (v.discovered_at, v.id) > (%(after_time)s, %(after_id)s)
   AND NOT (%(stages_ended)s AND EXISTS (
           SELECT FROM video_stage AS s WHERE s.video_id = v.id AND s.state = 'PENDING'))
 ORDER BY v.discovered_at, v.id
 LIMIT %(limit)s;

-- name: count_expired_videos
-- Count the videos past their time whose stages have ended.
SELECT count(*)
  FROM videos AS v
 WHERE v.discovered_at < %(before)s
   AND NOT (%(stages_ended)s AND EXISTS (
           SELECT FROM video_stage AS s WHERE s.video_id = v.id AND s.state = 'PENDING'));

-- name: run_janitor
-- Delete videos from the hot queue, and with them what is left of their stages. Nothing else refers to them.
DELETE FROM videos AS v
 WHERE v.id = ANY(%(video_ids)b::text[])
   AND NOT (%(stages_ended)s AND EXISTS (
           SELECT FROM video_stage AS s WHERE s.video_id = v.id AND s.state = 'PENDING'))
RETURNING v.id;

-- name: count_expired_channel_readings
-- Readings of channels that are past the time they may be kept.
SELECT count(*) FROM channel_stats_log WHERE timestamp < %(before)s;

-- name: expire_channel_readings
DELETE FROM channel_stats_log WHERE timestamp < %(before)s;

-- name: database_size
-- The database's size on disk.
SELECT pg_database_size(current_database());

-- name: _show_token
-- Prove that the work is still ours, and keep it so until the transaction ends.
SELECT name
  FROM work_leases
 WHERE lease_token = %(token)s
   FOR UPDATE;

-- name: index_shards
-- Note the shards that were proven to be in the vault.
INSERT INTO vault_manifest (path, kind, day, digest, rows, bytes, min_time, max_time, verified_at)
SELECT s.*, %(now)s
  FROM unnest(%(path)b::text[], %(kind)b::text[], %(day)b::date[], %(digest)b::text[], %(rows)b::bigint[],
              %(bytes)b::bigint[], %(min_time)b::timestamptz[], %(max_time)b::timestamptz[]) AS s
    ON CONFLICT (path) DO UPDATE
   SET verified_at = excluded.verified_at;
