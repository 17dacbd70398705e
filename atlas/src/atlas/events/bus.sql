-- name: record_many
-- Append events in the order given; they are committed with the change they tell of, or not at all.
INSERT INTO system_events (event_type, entity_id, payload, created_at)
SELECT event.event_type, event.entity_id, event.payload::jsonb, %(now)s
  FROM unnest(%(event_types)b::text[], %(entity_ids)b::text[], %(payloads)b::text[])
       WITH ORDINALITY AS event (event_type, entity_id, payload, position)
 ORDER BY event.position;
