-- The statements on stages. A double underscore separates a method from its steps.

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
