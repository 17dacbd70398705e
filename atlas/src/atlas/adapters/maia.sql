-- The agents' statements. A double underscore separates a method from its steps.

------------------------------------------------------------------------------------------------------------------------
-- Search terms
------------------------------------------------------------------------------------------------------------------------

-- name: add_to_search_queue
-- Add terms or mention them again, in one order, so that two Hunters never wait for each other in a circle. Of those
-- we do not know the first few are added, as many as may be.
WITH given AS MATERIALIZED (
    SELECT g.*, known.id IS NOT NULL AS known, coalesce(known.status = 'ASLEEP', false) AS asleep
      FROM unnest(%(terms)b::text[], %(mentions)b::integer[]) WITH ORDINALITY AS g (term, mentions, rank)
      LEFT JOIN search_queue AS known ON known.query_term = g.term
),
stored AS (
    INSERT INTO search_queue AS q
           (query_term, priority, pinned, mention_count, next_search_at, added_at, last_mentioned_at)
    SELECT term, %(priority)s, %(pinned)s, mentions, %(now)s, %(now)s, %(now)s
      FROM (SELECT *, row_number() OVER (PARTITION BY known ORDER BY rank) AS place FROM given) AS g
     WHERE known OR place <= coalesce(%(at_most)s::bigint, place)
     ORDER BY term COLLATE "C"
        ON CONFLICT (query_term) DO UPDATE
       SET mention_count = q.mention_count + excluded.mention_count,
           last_mentioned_at = excluded.last_mentioned_at,
           priority = greatest(q.priority, excluded.priority),
           pinned = q.pinned OR excluded.pinned,
           status = 'ACTIVE',
           next_search_at = CASE q.status WHEN 'ASLEEP' THEN excluded.next_search_at ELSE q.next_search_at END
    RETURNING query_term, mention_count
)
SELECT stored.query_term, stored.mention_count = given.mentions AS new, given.asleep AS woken
  FROM stored
  JOIN given ON given.term = stored.query_term;

-- name: hold_terms
-- Lock terms in the order in which they are added.
SELECT
  FROM search_queue
 WHERE query_term = ANY(%(terms)b::text[])
    OR id = ANY(%(ids)b::bigint[])
 ORDER BY query_term COLLATE "C"
   FOR UPDATE;

-- name: fetch_hunter_batch
-- Lease the due terms: pinned ones first, then those that waited longest, a point of priority counting as a day.
-- The order is the index search_queue_due's, expression and all.
WITH due AS (
    SELECT id
      FROM search_queue
     WHERE status = 'ACTIVE'
       AND next_search_at <= %(now)s
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY pinned DESC, (next_search_at - timestamptz '2000-01-01 00:00+00' - priority * interval '24 hours')
     LIMIT %(batch_size)s
       FOR UPDATE SKIP LOCKED
)
UPDATE search_queue AS q
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
  FROM due
 WHERE q.id = due.id
RETURNING q.id, q.query_term, q.priority, q.pinned, q.mention_count, q.last_searched_at, q.searched_until,
          q.window_after, q.window_before, q.window_seen, q.window_rest, q.next_page_token, q.page_token_at,
          q.result_count_total, q.new_count_total, q.yield AS yield_, q.attempts, q.added_at, q.last_mentioned_at,
          q.lease_token;

-- name: update_search_state
-- End the leases of terms that were searched; rows are locked in the order in which terms are added.
WITH held AS (
    SELECT o.*
      FROM unnest(%(id)b::bigint[], %(lease_token)b::uuid[], %(next_search_at)b::timestamptz[],
                  %(searched_until)b::timestamptz[], %(window_after)b::timestamptz[],
                  %(window_before)b::timestamptz[], %(window_seen)b::integer[], %(window_rest)b::timestamptz[],
                  %(next_page_token)b::text[], %(candidates)b::bigint[], %(discovered)b::bigint[], %(yield_)b::real[])
           AS o (id, lease_token, next_search_at, searched_until, window_after, window_before, window_seen,
                 window_rest, next_page_token, candidates, discovered, yield)
      JOIN search_queue AS q USING (id, lease_token)
     ORDER BY q.query_term COLLATE "C"
       FOR UPDATE OF q
)
UPDATE search_queue AS q
   SET next_search_at = held.next_search_at,
       last_searched_at = %(now)s,
       searched_until = held.searched_until,
       window_after = held.window_after,
       window_before = held.window_before,
       window_seen = held.window_seen,
       window_rest = held.window_rest,
       next_page_token = held.next_page_token,
       page_token_at = CASE WHEN held.next_page_token IS NOT NULL THEN %(now)s::timestamptz END,
       result_count_total = q.result_count_total + held.candidates,
       new_count_total = q.new_count_total + held.discovered,
       yield = held.yield,
       attempts = 0,
       reason = NULL,
       lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE q.id = held.id
RETURNING q.id;

-- name: fail_searches
-- Count a failed search and put the term off.
WITH held AS (
    SELECT f.*
      FROM unnest(%(id)b::bigint[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
           AS f (id, lease_token, reason, next_attempt_at)
      JOIN search_queue AS q USING (id, lease_token)
     ORDER BY q.query_term COLLATE "C"
       FOR UPDATE OF q
)
UPDATE search_queue AS q
   SET attempts = least(q.attempts + 1, 32767),
       reason = left(held.reason, %(length)s),
       next_search_at = held.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE q.id = held.id
RETURNING q.id;

-- name: release_searches
-- Give a claim's terms back, due as before.
WITH held AS (
    SELECT id
      FROM search_queue
     WHERE lease_token = %(token)s
     ORDER BY query_term COLLATE "C"
       FOR UPDATE
)
UPDATE search_queue AS q
   SET lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE q.id = held.id;

------------------------------------------------------------------------------------------------------------------------
-- Channels
------------------------------------------------------------------------------------------------------------------------

-- name: add_channels
-- Add the channels we do not know, in one order, and return them.
INSERT INTO channels (id, title, added_at, in_roster, pinned, next_poll_at)
SELECT c.id, c.title, %(now)s, %(in_roster)s, %(pinned)s, CASE WHEN %(in_roster)s THEN %(now)s::timestamptz END
  FROM unnest(%(id)b::text[], %(title)b::text[]) AS c (id, title)
 ORDER BY c.id COLLATE "C"
    ON CONFLICT DO NOTHING
RETURNING id, title;

-- name: add_channels__known
-- Give known channels what they lack: a title, a place in the roster, the pin. Rows that lack nothing are not touched.
WITH lacking AS (
    SELECT known.id, seen.title,
           known.title IS NULL AND seen.title IS NOT NULL AS titled,
           %(in_roster)s AND NOT known.in_roster AS enrolled,
           %(pinned)s AND NOT known.pinned AS pinned
      FROM unnest(%(id)b::text[], %(title)b::text[]) AS seen (id, title)
      JOIN channels AS known USING (id)
     WHERE (known.title IS NULL AND seen.title IS NOT NULL)
        OR (%(in_roster)s AND NOT known.in_roster)
        OR (%(pinned)s AND NOT known.pinned)
     ORDER BY known.id
       FOR UPDATE OF known
)
UPDATE channels AS c
   SET title = coalesce(c.title, lacking.title),
       in_roster = c.in_roster OR %(in_roster)s,
       pinned = c.pinned OR %(pinned)s,
       next_poll_at = CASE WHEN %(in_roster)s AND NOT c.in_roster THEN %(now)s ELSE c.next_poll_at END
  FROM lacking
 WHERE c.id = lacking.id
RETURNING c.id, c.title, lacking.titled, lacking.enrolled, lacking.pinned;

-- name: fetch_channel_batch
-- Lease the channels of the roster that are due, oldest first.
WITH due AS (
    SELECT id
      FROM channels
     WHERE in_roster
       AND next_poll_at <= %(now)s
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY next_poll_at
     LIMIT %(batch_size)s
       FOR UPDATE SKIP LOCKED
)
UPDATE channels AS c
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
  FROM due
 WHERE c.id = due.id
RETURNING c.id, c.title, c.pinned, c.added_at, c.next_poll_at, c.last_polled_at, c.upload_rate,
          c.poll_attempts AS attempts, c.lease_token;

-- name: update_channel_polls
-- End the leases of channels whose uploads were read; rows are locked in the order in which channels are added.
WITH held AS (
    SELECT o.*
      FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(next_poll_at)b::timestamptz[], %(upload_rate)b::real[])
           AS o (id, lease_token, next_poll_at, upload_rate)
      JOIN channels AS c USING (id, lease_token)
     ORDER BY c.id
       FOR UPDATE OF c
)
UPDATE channels AS c
   SET next_poll_at = held.next_poll_at,
       last_polled_at = %(now)s,
       upload_rate = held.upload_rate,
       poll_attempts = 0,
       poll_reason = NULL,
       lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE c.id = held.id
RETURNING c.id;

-- name: fail_channel_polls
-- Count a failed poll and put the channel off.
WITH held AS (
    SELECT f.*
      FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
           AS f (id, lease_token, reason, next_attempt_at)
      JOIN channels AS c USING (id, lease_token)
     ORDER BY c.id
       FOR UPDATE OF c
)
UPDATE channels AS c
   SET poll_attempts = least(c.poll_attempts + 1, 32767),
       poll_reason = left(held.reason, %(length)s),
       next_poll_at = held.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE c.id = held.id
RETURNING c.id;

-- name: roster_demand
-- Sum up how often the roster wants to be polled in a day, each channel so many times for an upload within bounds.
SELECT coalesce(sum(least(greatest(upload_rate * %(per_upload)s, %(least)s), %(most)s)), 0)::double precision
  FROM channels
 WHERE in_roster;

-- name: hint_polls
-- Move the next polls of channels as their feeds hint: forward to now, or back, but not past the longest wait. One
-- that is being polled, or written to, needs no hint.
WITH hinted AS (
    SELECT c.id, h.due, h.not_before
      FROM unnest(%(id)b::text[], %(due)b::boolean[], %(not_before)b::timestamptz[]) AS h (id, due, not_before)
      JOIN channels AS c USING (id)
     WHERE c.in_roster
       AND (c.leased_until IS NULL OR c.leased_until <= %(now)s)
     ORDER BY c.id
       FOR UPDATE OF c SKIP LOCKED
)
UPDATE channels AS c
   SET next_poll_at = CASE
           WHEN hinted.due THEN least(c.next_poll_at, %(now)s)
           ELSE greatest(c.next_poll_at, least(hinted.not_before, c.last_polled_at + %(longest)s))
       END
  FROM hinted
 WHERE c.id = hinted.id;

-- name: release_channels
-- Give a claim's channels back. They are still due, so the index on next_poll_at finds them.
WITH held AS (
    SELECT id
      FROM channels
     WHERE in_roster
       AND next_poll_at <= %(now)s
       AND lease_token = %(token)s
     ORDER BY id
       FOR UPDATE
)
UPDATE channels AS c
   SET lease_token = NULL,
       leased_until = NULL
  FROM held
 WHERE c.id = held.id;

------------------------------------------------------------------------------------------------------------------------
-- Discovery
------------------------------------------------------------------------------------------------------------------------

-- name: known_videos
-- Pick the ids that are on the watchlist.
SELECT video_id
  FROM watchlist
 WHERE video_id = ANY(%(video_ids)b::text[]);

-- name: judged_videos
-- Pick the ids that need no looking up: on the watchlist, or rejected not long ago.
SELECT video_id
  FROM watchlist
 WHERE video_id = ANY(%(video_ids)b::text[])
 UNION
SELECT video_id
  FROM rejected
 WHERE video_id = ANY(%(video_ids)b::text[])
   AND until > %(now)s;

-- name: reject_videos
-- Remember why candidates were not stored, in one order.
INSERT INTO rejected (video_id, reason, until)
SELECT r.*
  FROM unnest(%(video_id)b::text[], %(reason)b::text[], %(until)b::timestamptz[]) AS r (video_id, reason, until)
 ORDER BY r.video_id COLLATE "C"
    ON CONFLICT (video_id) DO UPDATE
   SET reason = excluded.reason,
       until = excluded.until;

-- name: forget_rejected
-- Forget those whose time is up, some at a time, passing over what somebody else is at.
DELETE FROM rejected
 WHERE video_id IN (
       SELECT video_id
         FROM rejected
        WHERE until <= %(now)s
        ORDER BY until
        LIMIT %(limit)s
          FOR UPDATE SKIP LOCKED
       );

-- name: ingest_video_metadata
-- Put on the watchlist what is not there, in one order; what that adds, and only that, goes into the hot queue with
-- its stages. Of two Hunters who find a video at once, one adds it. Where there is a Painter the Scribe waits for it.
WITH found AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset(%(videos)s::jsonb)
           AS v (id text, channel_id text, title text, published_at timestamptz, tracking_tier tracking_tier,
                 next_track_at timestamptz, duration integer, tags text[], category_id text, default_language text,
                 wiki_topics text[], observed_at timestamptz, views bigint, likes bigint, comment_count bigint)
),
watched AS (
    INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, last_tracked_at,
                           last_views, last_likes, last_comments, added_at)
    SELECT id, channel_id, published_at, tracking_tier, next_track_at, observed_at, views, likes, comment_count,
           %(now)s
      FROM found
     ORDER BY id COLLATE "C"
        ON CONFLICT DO NOTHING
    RETURNING video_id
),
hot AS (
    INSERT INTO videos (id, channel_id, title, published_at, duration, tags, category_id, default_language,
                        wiki_topics, discovered_at)
    SELECT id, channel_id, title, published_at, duration, tags, category_id, default_language, wiki_topics, %(now)s
      FROM found
      JOIN watched ON watched.video_id = found.id
    RETURNING id
),
staged AS (
    INSERT INTO video_stage (video_id, stage, next_attempt_at)
    SELECT hot.id, stage,
           CASE WHEN stage = 'scribe' AND 'painter' = ANY(%(stages)b::text[]) THEN 'infinity' ELSE %(now)s END
      FROM hot, unnest(%(stages)b::text[]) AS stage
)
SELECT id AS video_id
  FROM hot;

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

------------------------------------------------------------------------------------------------------------------------
-- Stages
------------------------------------------------------------------------------------------------------------------------

-- name: _claim_stage
-- Lease the videos that wait for an agent, oldest first, with what is known of them.
WITH due AS (
    SELECT video_id, stage
      FROM video_stage
     WHERE stage = %(stage)s
       AND state = 'PENDING'
       AND next_attempt_at <= %(now)s
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY next_attempt_at
     LIMIT %(batch_size)s
       FOR UPDATE SKIP LOCKED
)
UPDATE video_stage AS s
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
  FROM due
  JOIN videos AS v ON v.id = due.video_id
 WHERE s.video_id = due.video_id
   AND s.stage = due.stage
RETURNING s.video_id, v.channel_id, v.title, v.published_at, v.duration, v.tags, v.category_id, v.default_language,
          v.wiki_topics, v.discovered_at, s.attempts, s.lease_token;

-- name: mark_video_done
-- A stage that ended well goes away.
DELETE FROM video_stage
 WHERE video_id = ANY(%(video_ids)b::text[])
   AND stage = %(stage)s
   AND lease_token = %(token)s
RETURNING video_id;

-- name: fail_stage
-- Count a failed attempt and put the video off; after too many it is dead, with its reason.
UPDATE video_stage AS s
   SET attempts = least(s.attempts + 1, 32767),
       state = CASE WHEN s.attempts + 1 >= %(dead_after)s THEN 'DEAD' ELSE 'PENDING' END,
       reason = left(f.reason, %(length)s),
       next_attempt_at = f.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
       AS f (id, lease_token, reason, next_attempt_at)
 WHERE s.video_id = f.id
   AND s.stage = %(stage)s
   AND s.lease_token = f.lease_token
RETURNING s.video_id, s.state = 'DEAD' AS dead;

-- name: _wake_scribe
-- The Painter has come to an end with these videos: now they are due for the Scribe.
UPDATE video_stage
   SET next_attempt_at = %(now)s
 WHERE video_id = ANY(%(video_ids)b::text[])
   AND stage = 'scribe'
   AND next_attempt_at = 'infinity';

-- name: put_off_stage
-- Put videos off; nobody tried, so no attempt is counted.
UPDATE video_stage AS s
   SET reason = left(f.reason, %(length)s),
       next_attempt_at = f.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
       AS f (id, lease_token, reason, next_attempt_at)
 WHERE s.video_id = f.id
   AND s.stage = %(stage)s
   AND s.lease_token = f.lease_token
RETURNING s.video_id;

-- name: release_stage
-- Give a claim's stages back. They are still due, so the index on next_attempt_at finds them.
UPDATE video_stage
   SET lease_token = NULL,
       leased_until = NULL
 WHERE stage IN ('painter', 'scribe')
   AND state = 'PENDING'
   AND next_attempt_at <= %(now)s
   AND lease_token = %(token)s;

------------------------------------------------------------------------------------------------------------------------
-- Janitor
------------------------------------------------------------------------------------------------------------------------

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

-- name: _index_shards
-- Note the shards that were proven to be in the vault.
INSERT INTO vault_manifest (path, kind, day, digest, rows, bytes, min_time, max_time, verified_at)
SELECT s.*, %(now)s
  FROM unnest(%(path)b::text[], %(kind)b::text[], %(day)b::date[], %(digest)b::text[], %(rows)b::bigint[],
              %(bytes)b::bigint[], %(min_time)b::timestamptz[], %(max_time)b::timestamptz[]) AS s
    ON CONFLICT (path) DO UPDATE
   SET verified_at = excluded.verified_at;

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

-- name: sleep_terms
-- Put terms to sleep that nobody mentions and that find little.
UPDATE search_queue
   SET status = 'ASLEEP'
 WHERE id IN (
       SELECT id
         FROM search_queue
        WHERE status = 'ACTIVE'
          AND NOT pinned
          AND last_mentioned_at < %(before)s
          AND yield < %(below)s
          AND (leased_until IS NULL OR leased_until <= %(now)s)
        ORDER BY query_term COLLATE "C"
          FOR UPDATE SKIP LOCKED
       )
RETURNING query_term;

-- name: count_idle_terms
-- Count the terms that nobody mentions and that find little.
SELECT count(*)
  FROM search_queue
 WHERE status = 'ACTIVE'
   AND NOT pinned
   AND last_mentioned_at < %(before)s
   AND yield < %(below)s
   AND (leased_until IS NULL OR leased_until <= %(now)s);

-- name: database_size
-- The database's size on disk.
SELECT pg_database_size(current_database());

------------------------------------------------------------------------------------------------------------------------
-- Work that has no queue
------------------------------------------------------------------------------------------------------------------------

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

-- name: _show_token
-- Prove that the work is still ours, and keep it so until the transaction ends.
SELECT name
  FROM work_leases
 WHERE lease_token = %(token)s
   FOR UPDATE;

------------------------------------------------------------------------------------------------------------------------
-- Overview
------------------------------------------------------------------------------------------------------------------------

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
