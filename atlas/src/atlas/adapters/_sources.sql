-- Where candidates come from beside terms and polls: walks of back catalogues, charts, feeds. One queue for the three.

-- name: add
-- Add the sources we do not know, in one order; known ones stay as they are.
INSERT INTO sources (kind, name, next_read_at, page_token, passed, back_to, added_at)
SELECT %(kind)s, s.name, s.next_read_at, s.page_token, s.passed, s.back_to, %(now)s
  FROM unnest(%(name)b::text[], %(next_read_at)b::timestamptz[], %(page_token)b::text[], %(passed)b::integer[],
              %(back_to)b::timestamptz[]) AS s (name, next_read_at, page_token, passed, back_to)
 ORDER BY s.name COLLATE "C"
    ON CONFLICT DO NOTHING;

-- name: claim
-- Lease the due sources of a kind, oldest first; one that goes on keeps its time, and is finished before others begin.
WITH due AS (
    SELECT kind, name
      FROM sources
     WHERE kind = %(kind)s
       AND next_read_at <= %(now)s
       AND (leased_until IS NULL OR leased_until <= %(now)s)
     ORDER BY next_read_at
     LIMIT %(batch_size)s
       FOR UPDATE SKIP LOCKED
)
UPDATE sources AS s
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
  FROM due
 WHERE s.kind = due.kind
   AND s.name = due.name
RETURNING s.name, s.next_read_at, s.page_token, s.passed, s.back_to, s.last_read_at, s.attempts, s.lease_token;

-- name: settle
-- End the leases of sources that were read.
UPDATE sources AS s
   SET next_read_at = o.next_read_at,
       page_token = o.page_token,
       passed = o.passed,
       last_read_at = %(now)s,
       attempts = 0,
       reason = NULL,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(name)b::text[], %(lease_token)b::uuid[], %(next_read_at)b::timestamptz[], %(page_token)b::text[],
              %(passed)b::integer[]) AS o (name, lease_token, next_read_at, page_token, passed)
 WHERE s.kind = %(kind)s
   AND s.name = o.name
   AND s.lease_token = o.lease_token
RETURNING s.name;

-- name: end
-- Remove sources that were read to their end.
DELETE FROM sources AS s
 USING unnest(%(name)b::text[], %(lease_token)b::uuid[]) AS o (name, lease_token)
 WHERE s.kind = %(kind)s
   AND s.name = o.name
   AND s.lease_token = o.lease_token
RETURNING s.name;

-- name: fail
-- Count a failed reading and put the source off.
UPDATE sources AS s
   SET attempts = least(s.attempts + 1, 32767),
       reason = left(f.reason, %(length)s),
       next_read_at = f.next_attempt_at,
       lease_token = NULL,
       leased_until = NULL
  FROM unnest(%(id)b::text[], %(lease_token)b::uuid[], %(reason)b::text[], %(next_attempt_at)b::timestamptz[])
       AS f (name, lease_token, reason, next_attempt_at)
 WHERE s.kind = %(kind)s
   AND s.name = f.name
   AND s.lease_token = f.lease_token
RETURNING s.name;

-- name: release
-- Give a claim's sources back. They are still due, so the index on next_read_at finds them.
UPDATE sources
   SET lease_token = NULL,
       leased_until = NULL
 WHERE kind = %(kind)s
   AND next_read_at <= %(now)s
   AND lease_token = %(token)s;
