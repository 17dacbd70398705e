-- name: is_in_use
-- Does the database know of anything?
SELECT EXISTS (SELECT FROM channels) OR EXISTS (SELECT FROM videos) OR EXISTS (SELECT FROM watchlist)
    OR EXISTS (SELECT FROM search_queue) OR EXISTS (SELECT FROM system_events);

-- name: patience
-- A year of events takes longer than a statement usually may.
SET LOCAL statement_timeout = 0;

-- name: patience_of_source
-- The same where they come from, outside a transaction.
SET statement_timeout = 0;

-- name: load
-- Where events are gathered.
CREATE TEMP TABLE loaded (
    id bigint, event_type text, entity_id text, payload jsonb, created_at timestamptz, hot boolean
) ON COMMIT DROP;

-- name: copy_out
-- What SQL holds.
COPY (SELECT id, event_type, entity_id, payload, created_at, true FROM system_events) TO STDOUT (FORMAT BINARY);

-- name: copy_in
-- The same, on the other side.
COPY loaded FROM STDIN (FORMAT BINARY);

-- name: copy_archived
-- What the vault holds.
COPY loaded FROM STDIN;

-- name: order
-- Each event once: halfway through an archiving SQL and vault have it.
CREATE TEMP TABLE replayed ON COMMIT DROP AS
SELECT DISTINCT ON (id) *
  FROM loaded
 WHERE %(until)s::timestamptz IS NULL OR created_at <= %(until)s
 ORDER BY id, hot;

-- name: index
-- Find those of a type.
CREATE INDEX ON replayed (event_type text_pattern_ops);

-- name: analyze
-- Say how many there are.
ANALYZE replayed;

-- name: count
-- Say how many there are.
SELECT count(*)
  FROM replayed;

-- name: channels
-- What was said of a channel last, of each fact.
WITH told AS (
    SELECT entity_id, id, event_type, created_at AS at,
           jsonb_strip_nulls(CASE event_type
               WHEN 'channel.renamed' THEN jsonb_build_object('title', payload -> 'new')
               WHEN 'channel.handle_changed' THEN jsonb_build_object('custom_url', payload -> 'new')
               WHEN 'channel.country_changed' THEN jsonb_build_object('country', payload -> 'new')
               ELSE payload END) AS facts
      FROM replayed
     WHERE event_type LIKE 'channel.%%'
),
found AS (
    SELECT told.entity_id, min(told.at) FILTER (WHERE told.event_type = 'channel.discovered') AS added_at,
           jsonb_object_agg(fact.key, fact.value ORDER BY told.id)
               FILTER (WHERE fact.key NOT IN ('in_roster', 'pinned')) AS facts,
           bool_or(fact.key = 'in_roster' AND fact.value = 'true') AS in_roster,
           bool_or(fact.key = 'pinned' AND fact.value = 'true') AS pinned,
           max(told.at) FILTER (WHERE fact.key = 'in_roster' AND fact.value = 'true') AS enrolled_at
      FROM told
     CROSS JOIN LATERAL jsonb_each(told.facts) AS fact
     GROUP BY told.entity_id
)
INSERT INTO channels (id, title, country, custom_url, created_at, added_at, in_roster, pinned, next_poll_at)
SELECT entity_id, facts ->> 'title', facts ->> 'country', facts ->> 'custom_url',
       (facts ->> 'created_at')::timestamptz, added_at, in_roster, pinned, enrolled_at
  FROM found;

-- name: videos
-- What was said last of a video that was discovered and has not retired.
WITH retired AS (
    SELECT jsonb_array_elements_text(payload -> 'videos') AS id
      FROM replayed
     WHERE event_type = 'videos.retired'
),
changed AS (
    SELECT change.entity_id, jsonb_object_agg(fact.key, fact.value ORDER BY change.id) AS facts
      FROM replayed AS change
     CROSS JOIN LATERAL jsonb_each(
               CASE change.event_type
                   WHEN 'video.renamed' THEN jsonb_build_object('title', change.payload -> 'new')
                   ELSE change.payload END) AS fact
     WHERE change.event_type IN ('video.renamed', 'video.updated')
     GROUP BY change.entity_id
),
found AS (
    SELECT video.entity_id AS id, video.created_at AS at,
           video.payload || coalesce(changed.facts, '{}') AS facts
      FROM replayed AS video
      LEFT JOIN changed USING (entity_id)
     WHERE video.event_type = 'video.discovered'
       AND NOT EXISTS (SELECT FROM retired WHERE retired.id = video.entity_id)
)
INSERT INTO videos (id, channel_id, title, published_at, duration, tags, category_id, default_language, wiki_topics,
                    discovered_at)
SELECT id, facts ->> 'channel_id', coalesce(facts ->> 'title', ''), (facts ->> 'published_at')::timestamptz,
       (facts ->> 'duration')::integer,
       ARRAY(SELECT jsonb_array_elements_text(coalesce(facts -> 'tags', '[]'))),
       facts ->> 'category_id', facts ->> 'default_language',
       ARRAY(SELECT jsonb_array_elements_text(coalesce(facts -> 'wiki_topics', '[]'))),
       at
  FROM found;

-- name: watchlist
-- Every video that was ever discovered or watched.
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, short, added_at)
SELECT DISTINCT ON (entity_id)
       entity_id, payload ->> 'channel_id', (payload ->> 'published_at')::timestamptz,
       (payload ->> 'tracking_tier')::tracking_tier, (payload ->> 'next_track_at')::timestamptz,
       (payload ->> 'duration')::integer <= %(short)s, created_at
  FROM replayed
 WHERE event_type IN ('video.discovered', 'video.watched')
 ORDER BY entity_id, id;

-- name: unavailable
-- Those given up, and not revived since, are looked at as rarely as such videos are.
UPDATE watchlist AS w
   SET tracking_tier = 'DORMANT',
       misses = (last.payload ->> 'misses')::smallint,
       reason = last.payload ->> 'reason',
       next_track_at = last.created_at + %(dormant)s
  FROM (SELECT DISTINCT ON (entity_id) entity_id, event_type, payload, created_at
          FROM replayed
         WHERE event_type IN ('video.unavailable', 'video.revived')
         ORDER BY entity_id, id DESC) AS last
 WHERE w.video_id = last.entity_id
   AND last.event_type = 'video.unavailable';

-- name: search_queue
-- Every term that was ever added, with what its mentions came to.
WITH told AS (
    SELECT term, id, event_type, created_at AS at, (payload ->> 'priority')::smallint AS priority,
           (payload ->> 'pinned')::boolean AS pinned, event_type IN ('terms.added', 'terms.mentioned') AS mentioned
      FROM replayed
     CROSS JOIN LATERAL jsonb_array_elements_text(payload -> 'terms') AS term
     WHERE event_type LIKE 'terms.%%'
)
INSERT INTO search_queue (query_term, priority, pinned, mention_count, status, next_search_at, added_at,
                          last_mentioned_at)
SELECT term, coalesce(max(priority), 0), coalesce(bool_or(pinned), false), count(*) FILTER (WHERE mentioned),
       CASE (array_agg(event_type ORDER BY id DESC))[1] WHEN 'terms.slept' THEN 'ASLEEP' ELSE 'ACTIVE' END,
       (array_agg(at ORDER BY id))[1], (array_agg(at ORDER BY id))[1],
       (array_agg(at ORDER BY id DESC) FILTER (WHERE mentioned))[1]
  FROM told
 GROUP BY term
 ORDER BY min(id);

-- name: keep_hot
-- What no vault holds yet is in the log here too.
INSERT INTO system_events (id, event_type, entity_id, payload, created_at)
OVERRIDING SYSTEM VALUE
SELECT id, event_type, entity_id, payload, created_at
  FROM replayed
 WHERE hot
 ORDER BY id;

-- name: number_on
-- New events come after the old.
SELECT setval('system_events_id_seq', greatest(1, (SELECT max(id) FROM loaded)), true);
