-- name: timeline__hot
-- The samples of some videos that are still in SQL, in no order; the partitions outside the span are not looked at.
SELECT video_id, timestamp, views, likes, comment_count
  FROM video_stats_log
 WHERE video_id = ANY(%(video_ids)s::text[])
   AND timestamp >= coalesce(%(start)s::timestamptz, '-infinity')
   AND timestamp < coalesce(%(stop)s::timestamptz, 'infinity');

-- name: timeline__cold
-- The shards of samples that were proven to be in the vault and can hold a part of the span.
SELECT path, kind, day, digest, rows, bytes, min_time, max_time
  FROM vault_manifest
 WHERE kind = 'metrics'
   AND day >= coalesce((%(start)s::timestamptz AT TIME ZONE 'UTC')::date, '-infinity')
   AND day <= coalesce((%(stop)s::timestamptz AT TIME ZONE 'UTC')::date, 'infinity')
   AND max_time >= coalesce(%(start)s::timestamptz, '-infinity')
   AND min_time < coalesce(%(stop)s::timestamptz, 'infinity');
