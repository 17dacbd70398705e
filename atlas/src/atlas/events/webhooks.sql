-- name: enlist
-- Stand here, unless it stands somewhere.
INSERT INTO event_readers (name, seen, last_id, moved_at)
VALUES (%(name)s, %(seen)s::pg_snapshot, %(last_id)s, %(now)s)
    ON CONFLICT DO NOTHING;

-- name: claim
-- Go on where it stands, when nobody else does.
UPDATE event_readers
   SET lease_token = %(token)s,
       leased_until = %(now)s + %(lease)s
 WHERE name = %(name)s
   AND (leased_until IS NULL OR leased_until <= %(now)s)
RETURNING seen::text, last_id, upto::text, upto_id, position AS at;

-- name: move
-- Stand further on, for whoever holds it.
UPDATE event_readers
   SET seen = %(seen)s::pg_snapshot,
       last_id = %(last_id)s,
       upto = %(upto)s::pg_snapshot,
       upto_id = %(upto_id)s,
       position = %(at)s,
       moved_at = %(now)s,
       leased_until = %(now)s + %(lease)s
 WHERE name = %(name)s
   AND lease_token = %(token)s;

-- name: release
-- Let others go on.
UPDATE event_readers
   SET lease_token = NULL,
       leased_until = NULL
 WHERE name = %(name)s
   AND lease_token = %(token)s;

-- name: give_up
-- Keep what could not be delivered.
INSERT INTO event_dead_letters (event_id, event_type, entity_id, payload, created_at, failed_at, reason)
SELECT id, event_type, entity_id, payload::jsonb, created_at, %(now)s, reason
  FROM unnest(%(ids)b::bigint[], %(event_types)b::text[], %(entity_ids)b::text[], %(payloads)b::text[],
              %(times)b::timestamptz[], %(reasons)b::text[])
       AS event (id, event_type, entity_id, payload, created_at, reason)
    ON CONFLICT (event_id) DO UPDATE
   SET failed_at = excluded.failed_at,
       reason = excluded.reason;

-- name: forget
-- Keep the newest.
DELETE FROM event_dead_letters
 WHERE event_id < (SELECT event_id FROM event_dead_letters ORDER BY event_id DESC OFFSET %(keep)s - 1 LIMIT 1);

-- name: letters
-- What could not be delivered, oldest first.
SELECT event_id AS id, event_type, entity_id, payload, created_at, failed_at, reason
  FROM event_dead_letters
 WHERE %(ids)s::bigint[] IS NULL OR event_id = ANY(%(ids)s::bigint[])
 ORDER BY event_id;

-- name: bury
-- They were delivered after all.
DELETE FROM event_dead_letters
 WHERE event_id = ANY(%(ids)s::bigint[]);
