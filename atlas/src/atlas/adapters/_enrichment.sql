-- What is read again of videos and channels, and what became different about them.

-- name: update_video_metadata
-- Bring videos up to date, in one order, and name those with another title, which is noted, and what else changed. What
-- the answer lacks stays as it was; rows that do not change are not touched.
WITH seen AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset(%(videos)s::jsonb)
           AS v (id text, title text, duration integer, tags text[], category_id text, default_language text,
                 wiki_topics text[])
),
held AS (
    SELECT known.id, known.title AS old_title,
           coalesce(nullif(seen.title, ''), known.title) AS title,
           coalesce(seen.duration, known.duration) AS duration,
           seen.tags,
           coalesce(seen.category_id, known.category_id) AS category_id,
           coalesce(seen.default_language, known.default_language) AS default_language,
           CASE WHEN seen.wiki_topics = '{}' THEN known.wiki_topics ELSE seen.wiki_topics END AS wiki_topics,
           known AS before
      FROM seen
      JOIN videos AS known USING (id)
     ORDER BY known.id
       FOR NO KEY UPDATE OF known
),
updated AS (
    UPDATE videos AS v
       SET title = held.title,
           duration = held.duration,
           tags = held.tags,
           category_id = held.category_id,
           default_language = held.default_language,
           wiki_topics = held.wiki_topics
      FROM held
     WHERE v.id = held.id
       AND (v.title, v.duration, v.tags, v.category_id, v.default_language, v.wiki_topics) IS DISTINCT FROM
           (held.title, held.duration, held.tags, held.category_id, held.default_language, held.wiki_topics)
    RETURNING v.id
),
renamed AS (
    SELECT id, old_title, title
      FROM held
     WHERE old_title <> title
       AND old_title <> ''
),
noted AS (
    INSERT INTO video_history (video_id, changed_at, old_title, new_title)
    SELECT id, %(now)s, old_title, title
      FROM renamed
        ON CONFLICT DO NOTHING
)
SELECT held.id, renamed.old_title AS old, renamed.title AS new,
       jsonb_strip_nulls(jsonb_build_object(
           'title', CASE WHEN held.old_title = '' THEN nullif(held.title, '') END,
           'duration', nullif(held.duration, (held.before).duration),
           'tags', nullif(held.tags, (held.before).tags),
           'category_id', nullif(held.category_id, (held.before).category_id),
           'default_language', nullif(held.default_language, (held.before).default_language),
           'wiki_topics', nullif(held.wiki_topics, (held.before).wiki_topics))) AS changed
  FROM updated
  JOIN held USING (id)
  LEFT JOIN renamed USING (id)
 ORDER BY held.id;

-- name: stale_channels
-- Those of the channels that were not read since an instant.
SELECT id
  FROM channels
 WHERE id = ANY(%(channel_ids)b::text[])
   AND (last_scraped_at IS NULL OR last_scraped_at < %(before)s)
 ORDER BY id;

-- name: refresh_channels
-- Bring channels up to date, in one order; keep their counts, and note and name what became different. What the answer
-- lacks stays as it was, and what was not known before is not different.
WITH held AS (
    SELECT seen.*, known.title AS old_title, known.custom_url AS old_custom_url, known.country AS old_country,
           known.created_at AS old_created_at
      FROM unnest(%(id)b::text[], %(title)b::text[], %(country)b::text[], %(custom_url)b::text[],
                  %(created_at)b::timestamptz[], %(views)b::bigint[], %(subscribers)b::bigint[],
                  %(video_count)b::bigint[])
           AS seen (id, title, country, custom_url, created_at, views, subscribers, video_count)
      JOIN channels AS known USING (id)
     ORDER BY known.id
       FOR NO KEY UPDATE OF known
),
updated AS (
    UPDATE channels AS c
       SET title = coalesce(held.title, c.title),
           country = coalesce(held.country, c.country),
           custom_url = coalesce(held.custom_url, c.custom_url),
           created_at = coalesce(held.created_at, c.created_at),
           last_scraped_at = %(now)s
      FROM held
     WHERE c.id = held.id
),
counted AS (
    INSERT INTO channel_stats_log (channel_id, timestamp, view_count, subscriber_count, video_count)
    SELECT id, %(now)s, views, subscribers, video_count
      FROM held
     WHERE num_nonnulls(views, subscribers, video_count) > 0
        ON CONFLICT DO NOTHING
),
different AS (
    SELECT held.id, change.*
      FROM held
     CROSS JOIN LATERAL (VALUES ('renamed', old_title, title),
                                ('handle_changed', old_custom_url, custom_url),
                                ('country_changed', old_country, country)) AS change (what, old, new)
     WHERE change.old <> change.new
),
learned AS (
    SELECT id, jsonb_strip_nulls(jsonb_build_object(
               'title', CASE WHEN old_title IS NULL THEN title END,
               'custom_url', CASE WHEN old_custom_url IS NULL THEN custom_url END,
               'country', CASE WHEN old_country IS NULL THEN country END,
               'created_at', CASE WHEN created_at IS DISTINCT FROM old_created_at THEN created_at END)) AS facts
      FROM held
),
noted AS (
    INSERT INTO channel_history (channel_id, changed_at, old_title, new_title, event_type)
    SELECT id, %(now)s, old, new, what
      FROM different
     ORDER BY id, what
)
SELECT id, what, old, new, NULL AS facts
  FROM different
 UNION ALL
SELECT id, NULL, NULL, NULL, facts
  FROM learned
 WHERE facts <> '{}'
 ORDER BY id, what;
