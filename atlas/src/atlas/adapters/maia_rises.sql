-- The statements on rises, and on what is expected of videos. A double underscore separates a method from its steps.

-- name: fetch_expectations
-- What the channels let expect, and all videos.
SELECT channel_id, short, videos, level, spread, week_videos, week
  FROM expectations
 WHERE channel_id = ANY(%(ids)s || '{""}'::text[]);

-- name: fetch_expected_rates
-- The curves by age, from young to old.
SELECT short, age, log_rate, videos
  FROM expected_rates
 ORDER BY short, age;

-- name: fetch_rates_by_age
-- The median log rate around each of some ages, by format, of the videos that were read lately; an eighth of a view a
-- day stands for none.
WITH known AS (
    SELECT coalesce(short, false) AS short, ln(greatest(rate, 0) + 0.005) AS log_rate,
           width_bucket((extract(epoch FROM last_tracked_at - published_at) / 3600)::double precision,
                        %(edges)s::double precision[]) AS place
      FROM watchlist
     WHERE rate IS NOT NULL
       AND misses = 0
       AND last_tracked_at > greatest(published_at, %(since)s)
)
SELECT short, place, percentile_cont(0.5) WITHIN GROUP (ORDER BY log_rate) AS log_rate, count(*)::integer AS videos
  FROM known
 WHERE place BETWEEN 1 AND cardinality(%(edges)s::double precision[]) - 1
 GROUP BY short, place;

-- name: learn_expectations
-- Wait for whoever is at it.
SELECT pg_advisory_xact_lock(hashtext('learn_expectations'));

-- name: learn_expectations__known
-- How many channels, by format, are known, when that was learned on this day.
SELECT (SELECT count(*) FROM expectations WHERE channel_id <> '') AS channels
 WHERE EXISTS (SELECT FROM expected_rates WHERE learned_on >= %(day)s);

-- name: learn_expectations__outdated
-- The curves of before.
DELETE FROM expected_rates;

-- name: learn_expectations__rates
-- The curves.
INSERT INTO expected_rates (short, age, log_rate, videos, learned_on)
SELECT *, %(day)s::date
  FROM unnest(%(short)b::boolean[], %(age)b::real[], %(log_rate)b::real[], %(counts)b::integer[]);

-- name: learn_expectations__forget
-- All channels.
DELETE FROM expectations;

-- name: learn_expectations__channels
-- Channels with at least three videos whose own level is known, and all videos together: the median of what they did,
-- and the MAD around it, scaled to a standard deviation.
INSERT INTO expectations (channel_id, short, videos, level, spread, week_videos, week)
WITH known AS (
    SELECT channel_id, coalesce(short, false) AS short, level,
           CASE WHEN last_tracked_at - published_at > %(settled)s
                THEN ln(last_views + 1) - CASE WHEN short THEN %(week_short)s::float8 ELSE %(week_long)s::float8 END
           END::double precision AS week
      FROM watchlist
     WHERE channel_id IS NOT NULL
       AND level IS NOT NULL
       AND evidence >= %(evidence)s
),
grouped AS (
    SELECT * FROM known
     UNION ALL
    SELECT '', short, level, week FROM known
),
middle AS (
    SELECT channel_id, short, count(*)::integer AS videos, count(week)::integer AS week_videos,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY level) AS level,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY week) AS week
      FROM grouped
     GROUP BY channel_id, short
    HAVING count(*) >= 3
)
SELECT channel_id, short, m.videos, m.level,
       1.4826 * percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(k.level - m.level)),
       m.week_videos, m.week
  FROM middle AS m
  JOIN grouped AS k USING (channel_id, short)
 GROUP BY channel_id, short, m.videos, m.level, m.week_videos, m.week;

-- name: fetch_rises
-- Where some videos are in a rise; those that are in none are left out.
SELECT video_id, state, since, began_at, raised_at, score, rate, times
  FROM rises
 WHERE video_id = ANY(%(ids)s);

-- name: record_rises
-- Note where videos are in their rises.
INSERT INTO rises (video_id, state, since, began_at, raised_at, score, rate, times, views, seen_at)
SELECT video_id, state, turned_at, began_at, raised_at, score, rate, times, views, %(now)s
  FROM unnest(%(video_id)b::text[], %(state)b::text[], %(turned_at)b::timestamptz[], %(began_at)b::timestamptz[],
              %(raised_at)b::timestamptz[], %(score)b::real[], %(rate)b::real[], %(times)b::real[],
              %(views)b::bigint[])
       AS r (video_id, state, turned_at, began_at, raised_at, score, rate, times, views)
 ORDER BY video_id COLLATE "C"
    ON CONFLICT (video_id) DO UPDATE
   SET state = excluded.state, since = excluded.since, raised_at = excluded.raised_at, score = excluded.score,
       rate = excluded.rate, times = excluded.times, views = excluded.views, seen_at = excluded.seen_at;

-- name: record_rises__over
-- Forget the rises that are over.
DELETE FROM rises
 WHERE video_id = ANY(%(ids)s);

-- name: claim_untold_rises
-- Lease the rises that SURVEILLANCE has not heard of, so that of two Trackers one tells.
WITH untold AS (
    SELECT video_id
      FROM rises
     WHERE raised_at IS NOT NULL
       AND told_at IS NULL
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY raised_at
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE rises AS r
       SET lease_token = %(token)s,
           leased_until = %(now)s + %(lease)s
      FROM untold
     WHERE r.video_id = untold.video_id
    RETURNING r.*
)
SELECT r.video_id, r.state, r.since, r.began_at, r.raised_at, r.score, r.rate, r.times, r.views, r.seen_at,
       w.published_at, w.short, w.channel_id, v.title, c.title AS channel_title, r.lease_token
  FROM claimed AS r
  JOIN watchlist AS w USING (video_id)
  LEFT JOIN videos AS v ON v.id = r.video_id
  LEFT JOIN channels AS c ON c.id = w.channel_id
 ORDER BY r.raised_at, r.video_id;

-- name: rises_told
-- Note that SURVEILLANCE heard of what was claimed.
UPDATE rises
   SET told_at = %(now)s,
       lease_token = NULL,
       leased_until = NULL
 WHERE lease_token = %(token)s
   AND told_at IS NULL;

-- name: fetch_risers
-- What rises, the raised first, then by how much.
SELECT r.video_id, r.state, r.since, r.began_at, r.raised_at, r.score, r.rate, r.times, r.views, r.seen_at,
       w.published_at, w.short, w.channel_id, v.title, c.title AS channel_title
  FROM rises AS r
  JOIN watchlist AS w USING (video_id)
  LEFT JOIN videos AS v ON v.id = r.video_id
  LEFT JOIN channels AS c ON c.id = w.channel_id
 WHERE r.state = ANY(%(states)s)
   AND r.seen_at > %(since)s
 ORDER BY r.state = 'VIRAL' DESC, r.score DESC, r.video_id
 LIMIT %(limit)s;

-- name: fetch_recent_views
-- The samples of some videos since a time that SQL still has, in order.
SELECT video_id, timestamp, views
  FROM video_stats_log
 WHERE video_id = ANY(%(ids)s)
   AND timestamp >= %(since)s
   AND views IS NOT NULL
 ORDER BY video_id, timestamp;
