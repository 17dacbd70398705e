-- name: reserve
-- Draw numbers for events before they are stored.
SELECT nextval('system_events_id_seq') AS id
  FROM generate_series(1, %(count)s);

-- name: store
-- Append events that have their numbers; those that are there already, from a try whose answer was lost, stay.
INSERT INTO system_events (id, event_type, entity_id, payload, created_at)
OVERRIDING SYSTEM VALUE
SELECT id, event_type, entity_id, payload::jsonb, created_at
  FROM unnest(%(ids)b::bigint[], %(event_types)b::text[], %(entity_ids)b::text[], %(payloads)b::text[],
              %(times)b::timestamptz[]) AS event (id, event_type, entity_id, payload, created_at)
    ON CONFLICT DO NOTHING;
