-- The statements that reach across queues. A double underscore separates a method from its steps.

-- name: ingest_video_metadata
-- Put on the watchlist what is not there, in one order; what that adds, and only that, goes into the hot queue with
-- its stages. Of two Hunters who find a video at once, one adds it. Where there is a Painter the Scribe waits for it.
WITH found AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset(%(videos)s::jsonb)
           AS v (id text, channel_id text, title text, published_at timestamptz, tracking_tier tracking_tier,
                 next_track_at timestamptz, duration integer, tags text[], category_id text, default_language text,
                 wiki_topics text[], observed_at timestamptz, views bigint, likes bigint, comment_count bigint)
),
watched AS (
    INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, last_tracked_at,
                           last_views, last_likes, last_comments, short, added_at)
    SELECT id, channel_id, published_at, tracking_tier, next_track_at, observed_at, views, likes, comment_count,
           duration <= %(short)s, %(now)s
      FROM found
     ORDER BY id COLLATE "C"
        ON CONFLICT DO NOTHING
    RETURNING video_id
),
hot AS (
    INSERT INTO videos (id, channel_id, title, published_at, duration, tags, category_id, default_language,
                        wiki_topics, discovered_at)
    SELECT id, channel_id, title, published_at, duration, tags, category_id, default_language, wiki_topics, %(now)s
      FROM found
      JOIN watched ON watched.video_id = found.id
    RETURNING id
),
staged AS (
    INSERT INTO video_stage (video_id, stage, next_attempt_at)
    SELECT hot.id, stage,
           CASE WHEN stage = 'scribe' AND 'painter' = ANY(%(stages)b::text[]) THEN 'infinity' ELSE %(now)s END
      FROM hot, unnest(%(stages)b::text[]) AS stage
)
SELECT id AS video_id
  FROM hot;
