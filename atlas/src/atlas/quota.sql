-- name: reserve
-- Count units that are about to be used; no row when they would not fit, or the server has said that nothing is left.
-- The row is locked while it is decided, so any number of workers together never pass the limit.
INSERT INTO quota_usage AS kept (project, bucket, day, used, purposes)
SELECT %(project)s, %(bucket)s, %(day)s, %(units)s, jsonb_build_object(%(purpose)s::text, %(units)s)
 WHERE %(units)s <= %(limit)s
    ON CONFLICT (project, bucket, day) DO UPDATE
   SET used = kept.used + excluded.used,
       purposes = kept.purposes || jsonb_build_object(
           %(purpose)s::text, coalesce((kept.purposes ->> %(purpose)s)::int, 0) + excluded.used
       )
 WHERE kept.used + excluded.used <= %(limit)s
   AND kept.refused_at IS NULL
RETURNING used;

-- name: refund
-- Take back units of calls that the server cannot have counted, no more than were used for that purpose.
UPDATE quota_usage
   SET used = used - least(%(units)s, coalesce((purposes ->> %(purpose)s)::int, 0)),
       purposes = purposes || jsonb_build_object(
           %(purpose)s::text, greatest(coalesce((purposes ->> %(purpose)s)::int, 0) - %(units)s, 0)
       )
 WHERE project = %(project)s
   AND bucket = %(bucket)s
   AND day = %(day)s;

-- name: refused
-- The server knows better: nothing is left of the day.
INSERT INTO quota_usage AS kept (project, bucket, day, used, refused_at)
VALUES (%(project)s, %(bucket)s, %(day)s, 0, %(now)s)
    ON CONFLICT (project, bucket, day) DO UPDATE
   SET refused_at = coalesce(kept.refused_at, excluded.refused_at);

-- name: announce
-- Take the right to say that a bucket is spent: a row for the first who asks, and for nobody else before the reset.
INSERT INTO work_leases AS held (name, lease_token, leased_until)
VALUES (%(name)s, %(token)s, %(reset_at)s)
    ON CONFLICT (name) DO UPDATE
   SET lease_token = excluded.lease_token, leased_until = excluded.leased_until
 WHERE held.leased_until <= %(now)s
RETURNING name;

-- name: usage
-- Every project we know, or those asked about, and every bucket on a day, also where nothing was used.
WITH known AS (
    SELECT project FROM api_keys WHERE %(projects)s::text[] IS NULL
     UNION
    SELECT project FROM quota_usage WHERE day = %(day)s AND %(projects)s::text[] IS NULL
     UNION
    SELECT unnest(%(projects)s::text[])
)
SELECT known.project, bucket.name AS bucket, coalesce(used, 0) AS used, refused_at,
       coalesce(purposes, '{}') AS purposes
  FROM known
 CROSS JOIN unnest(%(buckets)s::text[]) WITH ORDINALITY AS bucket (name, position)
  LEFT JOIN quota_usage
    ON quota_usage.project = known.project
   AND quota_usage.bucket = bucket.name
   AND quota_usage.day = %(day)s
 ORDER BY known.project, bucket.position;

-- name: totals
-- What was used of each bucket, ever.
SELECT bucket, sum(used)::bigint AS used
  FROM quota_usage
 GROUP BY bucket;
