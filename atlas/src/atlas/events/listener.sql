-- name: listen
-- Be told when somebody commits events.
LISTEN pleiades_events;

-- name: hint
-- Let who listens look, whether or not there is something.
SELECT pg_notify('pleiades_events', '');

-- name: now
-- Behind all that is committed.
SELECT pg_current_snapshot()::text AS seen, coalesce(max(id), 0) AS last_id
  FROM system_events;

-- name: look
-- Where that begins which was committed since; nothing was when there is no first. What has an id beyond the newest
-- that was seen is new in any case: after a crash the server may give a number of an unfinished transaction again.
WITH fresh AS MATERIALIZED (
    SELECT id
      FROM system_events
     WHERE xact >= pg_snapshot_xmin(%(seen)s::pg_snapshot)
       AND NOT pg_visible_in_snapshot(xact, %(seen)s::pg_snapshot)
     UNION ALL
    SELECT min(id)
      FROM system_events
     WHERE id > %(last_id)s
)
SELECT min(id) AS first_id,
       pg_current_snapshot()::text AS upto,
       greatest(%(last_id)s, (SELECT max(id) FROM system_events)) AS upto_id
  FROM fresh;

-- name: latest
-- The newest events, newest first.
SELECT id, event_type, entity_id, payload, created_at
  FROM system_events
 WHERE event_type LIKE ANY(%(likes)s::text[])
 ORDER BY id DESC
 LIMIT %(limit)s;

-- name: page
-- The next events, in order.
SELECT id, event_type, entity_id, payload, created_at
  FROM system_events
 WHERE id > %(at)s
   AND id <= %(upto_id)s
   AND pg_visible_in_snapshot(xact, %(upto)s::pg_snapshot)
   AND (id > %(last_id)s OR NOT pg_visible_in_snapshot(xact, %(seen)s::pg_snapshot))
   AND event_type LIKE ANY(%(likes)s::text[])
 ORDER BY id
 LIMIT %(limit)s;
