-- The Hunter's statements. A double underscore separates a method from its steps.

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
