-- name: add_to_watchlist
-- Track videos, in one order; known ones stay as they are.
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, added_at)
SELECT w.video_id, w.channel_id, w.published_at, w.tier, w.next_track_at, %(now)s
  FROM unnest(%(video_id)b::text[], %(channel_id)b::text[], %(published_at)b::timestamptz[],
              %(tracking_tier)b::tracking_tier[], %(next_track_at)b::timestamptz[])
       AS w (video_id, channel_id, published_at, tier, next_track_at)
 ORDER BY w.video_id COLLATE "C"
    ON CONFLICT DO NOTHING
RETURNING video_id, channel_id, published_at, tracking_tier, next_track_at;

-- name: fetch_tracking_batch
-- Lease the videos that are due, oldest first, so that two trackers never share one; then those due soon, of which none
-- was read a moment ago or waits for another reason.
WITH due AS (
    SELECT video_id
      FROM watchlist
     WHERE next_track_at <= %(now)s + %(ahead)s::interval
       AND (next_track_at <= %(now)s OR last_tracked_at <= %(now)s - %(pause)s::interval AND attempts = 0 AND misses = 0)
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY next_track_at
     LIMIT %(batch_size)s
       FOR UPDATE SKIP LOCKED
)
UPDATE watchlist AS w
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
  FROM due
 WHERE w.video_id = due.video_id
RETURNING w.video_id, w.channel_id, w.published_at, w.tracking_tier, w.next_track_at, w.last_tracked_at,
          w.last_views, w.last_likes, w.last_comments, w.rate, w.short, w.older_at, w.older_views, w.newer_at,
          w.newer_views, w.level, w.evidence, w.misses, w.attempts, w.added_at, w.lease_token;

-- name: log_video_stats_batch
-- Store each sample once, however often it is reported; in one order, so that two who report the same never wait for
-- each other in a circle.
INSERT INTO video_stats_log (video_id, timestamp, views, likes, comment_count)
SELECT *
  FROM unnest(%(video_id)b::text[], %(timestamp)b::timestamptz[], %(views)b::bigint[], %(likes)b::bigint[],
              %(comment_count)b::bigint[]) AS s (video_id, timestamp)
 ORDER BY s.video_id COLLATE "C", s.timestamp
    ON CONFLICT DO NOTHING;

-- name: update_watchlist_schedule
-- End the leases of videos that were read, each only for whoever holds it.
UPDATE watchlist AS w
   SET tracking_tier = o.tier,
       next_track_at = o.next_track_at,
       last_tracked_at = %(now)s,
       last_views = o.views,
       last_likes = o.likes,
       last_comments = o.comments,
       rate = o.rate,
       older_at = o.older_at,
       older_views = o.older_views,
       newer_at = o.newer_at,
       newer_views = o.newer_views,
       level = o.level,
       evidence = o.evidence,
       misses = 0,
       attempts = 0,
       reason = NULL,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(video_id)b::text[], %(lease_token)b::uuid[], %(tier)b::tracking_tier[],
              %(next_track_at)b::timestamptz[], %(views)b::bigint[], %(likes)b::bigint[],
              %(comment_count)b::bigint[], %(rate)b::real[], %(older_at)b::timestamptz[], %(older_views)b::bigint[],
              %(newer_at)b::timestamptz[], %(newer_views)b::bigint[], %(level)b::real[], %(evidence)b::real[])
       AS o (video_id, lease_token, tier, next_track_at, views, likes, comments, rate, older_at, older_views, newer_at,
             newer_views, level, evidence)
 WHERE w.video_id = o.video_id
   AND w.lease_token = o.lease_token
RETURNING w.video_id;

-- name: record_misses
-- Count a confirmed miss, and say which videos were given up by it.
WITH held AS (
    SELECT w.video_id, w.tracking_tier AS tier_before, o.tier, o.next_track_at, o.reason
      FROM unnest(%(video_id)b::text[], %(lease_token)b::uuid[], %(tier)b::tracking_tier[],
                  %(next_track_at)b::timestamptz[], %(reason)b::text[])
           AS o (video_id, lease_token, tier, next_track_at, reason)
      JOIN watchlist AS w USING (video_id)
     WHERE w.lease_token = o.lease_token
       FOR UPDATE OF w
)
UPDATE watchlist AS w
   SET tracking_tier = held.tier,
       next_track_at = held.next_track_at,
       misses = least(w.misses + 1, 32767),
       attempts = 0,
       reason = left(held.reason, %(length)s),
       lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE w.video_id = held.video_id
RETURNING w.video_id, w.misses, w.reason, held.tier = 'DORMANT' AND held.tier_before <> 'DORMANT' AS given_up;

-- name: fail_tracking
-- Count a failed reading and put the video off.
UPDATE watchlist AS w
   SET attempts = least(w.attempts + 1, 32767),
       reason = left(f.reason, %(length)s),
       next_track_at = f.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
       AS f (id, lease_token, reason, next_attempt_at)
 WHERE w.video_id = f.id
   AND w.lease_token = f.lease_token
RETURNING w.video_id;

-- name: release_tracking
-- Give a claim's rows back. They are as due as they were, so the index on next_track_at finds them.
UPDATE watchlist
   SET lease_token = NULL,
       leased_until = NULL
 WHERE next_track_at <= %(now)s + %(ahead)s::interval
   AND lease_token = %(token)s;

-- name: survey_watchlist
-- Draw videos by chance: ids are random, so any stretch of them is a fair sample; it goes on at the beginning.
WITH after AS (
    SELECT video_id, published_at, last_tracked_at, last_views, rate, added_at
      FROM watchlist
     WHERE video_id >= %(from_id)s::text
       AND tracking_tier <> 'DORMANT'
     ORDER BY video_id
     LIMIT %(size)s
), before AS (
    SELECT video_id, published_at, last_tracked_at, last_views, rate, added_at
      FROM watchlist
     WHERE video_id < %(from_id)s::text
       AND tracking_tier <> 'DORMANT'
     ORDER BY video_id
     LIMIT greatest(%(size)s - (SELECT count(*) FROM after), 0)
)
SELECT * FROM after
 UNION ALL
SELECT * FROM before;

-- name: tracking_demand
-- Count the videos that are tracked, and those of them that are late.
SELECT count(*) FILTER (WHERE tracking_tier <> 'DORMANT') AS videos,
       (SELECT count(*) FROM watchlist WHERE next_track_at <= %(now)s) AS late
  FROM watchlist;

-- name: fetch_market
-- The price as it stands; no row before the first appraisal.
SELECT price, flow, growth, newcomer, appraised_at
  FROM tracking_market;

-- name: move_market
-- Set the price, unless somebody else did since: whoever appraised from an older one changes nothing.
INSERT INTO tracking_market AS m (price, flow, growth, newcomer, appraised_at)
VALUES (%(price)s, %(flow)s, %(growth)s, %(newcomer)s, %(now)s)
    ON CONFLICT (only_row) DO UPDATE
   SET price = excluded.price,
       flow = excluded.flow,
       growth = excluded.growth,
       newcomer = excluded.newcomer,
       appraised_at = excluded.appraised_at
 WHERE m.appraised_at = %(since)s
RETURNING m.appraised_at;
