-- What must hold of the database by itself. Each statement names what breaks its promise; a row each.

-- name: enrolled
-- Every video of the hot queue is on the watchlist.
SELECT id AS what
  FROM videos
 WHERE NOT EXISTS (SELECT FROM watchlist WHERE video_id = id);

-- name: of_a_video
-- Every stage, vector, feature and former title is of a video in the hot queue.
SELECT kind || ' of ' || video_id AS what
  FROM (SELECT 'stage', video_id FROM video_stage
         UNION ALL
        SELECT 'vector', video_id FROM video_vectors
         UNION ALL
        SELECT 'features', video_id FROM video_features
         UNION ALL
        SELECT 'former title', video_id FROM video_history) AS part (kind, video_id)
 WHERE NOT EXISTS (SELECT FROM videos WHERE id = video_id);

-- name: of_a_channel
-- Every video, reading of a channel and former name is of a channel we know.
SELECT kind || ' of ' || channel_id AS what
  FROM (SELECT 'video ' || id, channel_id FROM videos
         UNION ALL
        SELECT 'reading', channel_id FROM channel_stats_log
         UNION ALL
        SELECT 'former name', channel_id FROM channel_history) AS part (kind, channel_id)
 WHERE NOT EXISTS (SELECT FROM channels WHERE id = channel_id);

-- name: sample_of_a_tracked_video
-- Every sample in SQL is of a video on the watchlist.
SELECT DISTINCT video_id AS what
  FROM video_stats_log AS s
 WHERE NOT EXISTS (SELECT FROM watchlist AS w WHERE w.video_id = s.video_id);

-- name: rise_of_a_tracked_video
-- Every rise is of a video on the watchlist.
SELECT video_id AS what
  FROM rises AS r
 WHERE NOT EXISTS (SELECT FROM watchlist AS w WHERE w.video_id = r.video_id);

-- name: lease_is_whole
-- A lease has a token and an end, or neither.
SELECT queue || ' ' || name AS what
  FROM (SELECT 'watchlist', video_id, lease_token, leased_until FROM watchlist
         UNION ALL
        SELECT 'channel', id, lease_token, leased_until FROM channels
         UNION ALL
        SELECT 'term', query_term, lease_token, leased_until FROM search_queue
         UNION ALL
        SELECT kind, name, lease_token, leased_until FROM sources
         UNION ALL
        SELECT stage, video_id, lease_token, leased_until FROM video_stage
         UNION ALL
        SELECT 'rise', video_id, lease_token, leased_until FROM rises
         UNION ALL
        SELECT 'heartbeat', state, lease_token, leased_until FROM heartbeat
         UNION ALL
        SELECT 'reader', name, lease_token, leased_until FROM event_readers)
       AS held (queue, name, lease_token, leased_until)
 WHERE (lease_token IS NULL) <> (leased_until IS NULL);

-- name: lease_is_short
-- No lease ends later than a worker may hold one: ten minutes, an hour for what is done by name.
SELECT queue || ' ' || name || ' until ' || leased_until AS what
  FROM (SELECT 'watchlist', video_id, leased_until, %(lease)s FROM watchlist
         UNION ALL
        SELECT 'channel', id, leased_until, %(lease)s FROM channels
         UNION ALL
        SELECT 'term', query_term, leased_until, %(lease)s FROM search_queue
         UNION ALL
        SELECT kind, name, leased_until, %(lease)s FROM sources
         UNION ALL
        SELECT stage, video_id, leased_until, %(lease)s FROM video_stage
         UNION ALL
        SELECT 'rise', video_id, leased_until, %(lease)s FROM rises
         UNION ALL
        SELECT 'heartbeat', state, leased_until, %(lease)s FROM heartbeat
         UNION ALL
        SELECT 'reader', name, leased_until, %(lease)s FROM event_readers
         UNION ALL
        SELECT 'work', name, leased_until, CASE WHEN name LIKE 'quota.exhausted/%%' THEN interval '25 hours'
                                               ELSE %(work_lease)s END
          FROM work_leases) AS held (queue, name, leased_until, longest)
 WHERE leased_until > %(now)s + longest + %(skew)s;

-- name: lease_comes_back
-- What a dead worker held is taken up again: no lease ended long ago.
SELECT queue || ' ' || name || ' until ' || leased_until AS what
  FROM (SELECT 'watchlist', video_id, lease_token, leased_until FROM watchlist
         UNION ALL
        SELECT 'channel', id, lease_token, leased_until FROM channels WHERE in_roster
         UNION ALL
        SELECT stage, video_id, lease_token, leased_until FROM video_stage WHERE state = 'PENDING'
         UNION ALL
        SELECT 'rise', video_id, lease_token, leased_until FROM rises
         UNION ALL
        SELECT 'heartbeat', state, lease_token, leased_until FROM heartbeat
         UNION ALL
        SELECT 'work', name, lease_token, leased_until FROM work_leases)
       AS held (queue, name, lease_token, leased_until)
 WHERE lease_token IS NOT NULL
   AND leased_until < %(now)s - %(patience)s;

-- name: nobody_at_work
-- When nobody works nothing is leased; asked of an installation at rest alone.
SELECT queue || ' ' || name AS what
  FROM (SELECT 'watchlist', video_id, lease_token FROM watchlist
         UNION ALL
        SELECT 'channel', id, lease_token FROM channels
         UNION ALL
        SELECT 'term', query_term, lease_token FROM search_queue
         UNION ALL
        SELECT kind, name, lease_token FROM sources
         UNION ALL
        SELECT stage, video_id, lease_token FROM video_stage
         UNION ALL
        SELECT 'rise', video_id, lease_token FROM rises
         UNION ALL
        SELECT 'heartbeat', state, lease_token FROM heartbeat
         UNION ALL
        SELECT 'work', name, lease_token FROM work_leases WHERE name NOT LIKE 'quota.exhausted/%%')
       AS held (queue, name, lease_token)
 WHERE lease_token IS NOT NULL;

-- name: failure_has_a_reason
-- What failed says why.
SELECT queue || ' ' || name AS what
  FROM (SELECT 'watchlist', video_id, attempts > 0, reason FROM watchlist
         UNION ALL
        SELECT 'channel', id, poll_attempts > 0, poll_reason FROM channels
         UNION ALL
        SELECT 'term', query_term, attempts > 0, reason FROM search_queue
         UNION ALL
        SELECT kind, name, attempts > 0, reason FROM sources
         UNION ALL
        SELECT stage, video_id, attempts > 0 OR state = 'DEAD', reason FROM video_stage)
       AS tried (queue, name, has_failed, reason)
 WHERE has_failed
   AND coalesce(reason, '') = '';

-- name: scribe_waits_for_a_painter
-- A Scribe waits for ever only for a Painter who has work left on the video.
SELECT video_id AS what
  FROM video_stage AS s
 WHERE stage = 'scribe'
   AND next_attempt_at = 'infinity'
   AND NOT EXISTS (
       SELECT
         FROM video_stage AS p
        WHERE p.video_id = s.video_id
          AND p.stage = 'painter'
          AND p.state = 'PENDING'
       );

-- name: next_look_in_bounds
-- Every tracked video is looked at again within what any schedule may wait at its tier, or a day after a failure.
SELECT w.video_id || ' at ' || w.next_track_at AS what
  FROM watchlist AS w
  JOIN unnest(%(tiers)s::tracking_tier[], %(longest)s::interval[]) AS tier (tracking_tier, longest)
       USING (tracking_tier)
 WHERE w.next_track_at > greatest(%(now)s, w.last_tracked_at, w.added_at)
                         + greatest(tier.longest, interval '1 day') + %(skew)s;

-- name: nothing_due_for_ever
-- No tracked video, polled channel or stage has been due for long.
SELECT queue || ' ' || name || ' since ' || due_at AS what
  FROM (SELECT 'watchlist', video_id, next_track_at FROM watchlist
         UNION ALL
        SELECT 'channel', id, next_poll_at FROM channels WHERE in_roster
         UNION ALL
        SELECT stage, video_id, next_attempt_at FROM video_stage
         WHERE state = 'PENDING'
           AND stage = ANY(%(stages)s::text[])) AS due (queue, name, due_at)
 WHERE due_at < %(now)s - %(patience)s;

-- name: times_in_order
-- What happened first has the earlier time, and nothing was observed in the future.
SELECT what
  FROM (SELECT 'watchlist ' || video_id, last_tracked_at < added_at - %(skew)s
               OR (attempts = 0 AND misses = 0 AND next_track_at <= last_tracked_at)
               OR last_tracked_at > %(now)s + %(skew)s
          FROM watchlist
         UNION ALL
        SELECT 'sample of ' || video_id || ' at ' || timestamp, timestamp > %(now)s + %(skew)s FROM video_stats_log
         UNION ALL
        SELECT 'video ' || id, discovered_at > %(now)s + %(skew)s FROM videos
         UNION ALL
        SELECT 'term ' || query_term, window_after > window_before OR last_searched_at > %(now)s + %(skew)s
               OR (next_page_token IS NULL) <> (page_token_at IS NULL)
          FROM search_queue
         UNION ALL
        SELECT 'channel ' || id, last_polled_at > %(now)s + %(skew)s FROM channels
         UNION ALL
        SELECT 'shard ' || path, min_time > max_time OR (min_time AT TIME ZONE 'UTC')::date <> day
               OR (max_time AT TIME ZONE 'UTC')::date <> day
          FROM vault_manifest) AS told (what, is_wrong)
 WHERE is_wrong;

-- name: log_is_immutable
-- Triggers refuse to change, delete or truncate events, in every partition of the log.
SELECT relid::text AS what
  FROM pg_partition_tree('system_events')
 WHERE (
       SELECT count(DISTINCT CASE WHEN tgtype & 27 = 27 THEN 'row' WHEN tgtype & 34 = 34 THEN 'truncate' END)
         FROM pg_trigger
        WHERE tgrelid = relid
          AND tgfoid = 'refuse_change()'::regprocedure
          AND tgenabled IN ('O', 'A')
       ) < 2;

-- name: readers_within_the_log
-- Nobody has read further than the log goes.
SELECT name AS what
  FROM event_readers
 WHERE greatest(last_id, upto_id) > coalesce(pg_sequence_last_value('system_events_id_seq'), 0)
    OR position > upto_id
    OR pg_snapshot_xmax(seen) > pg_snapshot_xmax(pg_current_snapshot());

-- name: purposes_sum_up
-- The units used of a bucket are those that were used for its purposes.
SELECT project || ' ' || bucket || ' ' || day || ': ' || used || ' used, ' || told || ' accounted for' AS what
  FROM quota_usage
 CROSS JOIN LATERAL (SELECT coalesce(sum(value::int), 0) AS told FROM jsonb_each_text(purposes)) AS purpose
 WHERE used <> told;

-- name: looks_without_a_hot_sample
-- The last looks whose counts are not in SQL: the vault has to have them.
SELECT video_id, last_tracked_at AS timestamp, last_views AS views
  FROM watchlist AS w
 WHERE last_tracked_at IS NOT NULL
   AND NOT EXISTS (
       SELECT
         FROM video_stats_log AS s
        WHERE s.video_id = w.video_id
          AND s.timestamp = w.last_tracked_at
          AND s.views IS NOT DISTINCT FROM w.last_views
       );

-- name: samples
-- Every sample in SQL.
SELECT video_id, timestamp, views, likes, comment_count
  FROM video_stats_log;

-- name: hot_metrics
-- The samples of a day, by what tells them apart.
SELECT video_id, timestamp
  FROM video_stats_log
 WHERE timestamp >= %(start)s
   AND timestamp < %(stop)s;

-- name: hot_events
-- The events of a day, likewise.
SELECT created_at, id
  FROM system_events
 WHERE created_at >= %(start)s
   AND created_at < %(stop)s;

-- name: events
-- What the log in SQL says of who there is.
SELECT id, event_type, entity_id, payload::text AS payload
  FROM system_events
 WHERE event_type = ANY(%(types)s::text[]);

-- name: known
-- Who there is, by table.
SELECT 'watchlist' AS place, video_id AS name FROM watchlist
 UNION ALL
SELECT 'videos', id FROM videos
 UNION ALL
SELECT 'channels', id FROM channels
 UNION ALL
SELECT 'search_queue', query_term FROM search_queue;

-- name: gone
-- Videos that left the hot queue, or never were in it.
SELECT video_id, added_at
  FROM watchlist
 WHERE NOT EXISTS (SELECT FROM videos WHERE id = video_id);

-- name: judged
-- The candidates that were decided upon.
SELECT video_id FROM watchlist
 UNION
SELECT video_id FROM rejected;

-- name: pages_to_read
-- Whether a source is due, held, failed or read halfway: what it named may be still to come.
SELECT EXISTS (SELECT FROM search_queue
                WHERE status = 'ACTIVE'
                  AND (next_search_at <= %(now)s OR lease_token IS NOT NULL OR attempts > 0
                       OR next_page_token IS NOT NULL OR window_rest IS NOT NULL))
    OR EXISTS (SELECT FROM channels
                WHERE in_roster AND (next_poll_at <= %(now)s OR lease_token IS NOT NULL OR poll_attempts > 0))
    OR EXISTS (SELECT FROM sources
                WHERE next_read_at <= %(now)s OR lease_token IS NOT NULL OR attempts > 0 OR page_token IS NOT NULL);

-- name: ledger
-- The units used, by Pacific day and bucket, over all projects.
SELECT day, bucket, sum(used)::int AS used
  FROM quota_usage
 WHERE used > 0
 GROUP BY day, bucket;

-- name: snapshot
-- Look at one moment, and change nothing.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: patience
-- Rather a late answer than none.
SET LOCAL statement_timeout = 0;
