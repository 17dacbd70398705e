-- name: closed_days
-- Count the events before an instant by UTC day, in partitions or not.
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS rows
  FROM system_events
 WHERE created_at < %(before)s
 GROUP BY 1;

-- name: read_day
-- The events of a day, in no order.
SELECT created_at, id, event_type, entity_id, payload::text AS payload
  FROM system_events
 WHERE created_at >= %(start)s
   AND created_at < %(stop)s

-- name: count_day
-- Count the events of a day.
SELECT count(*)
  FROM system_events
 WHERE created_at >= %(start)s
   AND created_at < %(stop)s;
