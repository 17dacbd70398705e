-- What frames look like and titles sound like: stored, searched, bounded.

-- name: store_vectors
-- Keep what frames of hot videos look like; the same again changes nothing. The lock holds the videos until we are done.
WITH hot AS (
    SELECT id
      FROM videos
     WHERE id = ANY(%(video_id)b::text[])
     ORDER BY id
       FOR KEY SHARE
)
INSERT INTO video_vectors AS v (video_id, frame_index, source_type, vector, created_at)
SELECT f.video_id, f.frame_index, f.source_type, f.vector::halfvec(512), %(now)s
  FROM unnest(%(video_id)b::text[], %(frame_index)b::int[], %(source_type)b::text[], %(vector)b::text[])
    AS f (video_id, frame_index, source_type, vector)
  JOIN hot ON hot.id = f.video_id
    ON CONFLICT (video_id, frame_index, source_type) DO UPDATE
   SET vector = excluded.vector,
       created_at = excluded.created_at
 WHERE v.vector <> excluded.vector;

-- name: store_texts
-- Keep what the words of hot videos tell.
WITH hot AS (
    SELECT id
      FROM videos
     WHERE id = ANY(%(video_id)b::text[])
     ORDER BY id
       FOR KEY SHARE
)
INSERT INTO video_features (video_id, language, title_length, title_words, caps_share, emoji, question, exclamations,
                            numerals, hashtags, spoken_words, created_at)
SELECT t.*, %(now)s
  FROM unnest(%(video_id)b::text[], %(language)b::text[], %(title_length)b::int[], %(title_words)b::int[],
              %(caps_share)b::float8[], %(emoji)b::int[], %(question)b::boolean[], %(exclamations)b::int[],
              %(numerals)b::int[], %(hashtags)b::int[], %(spoken_words)b::int[]) AS t (video_id)
  JOIN hot ON hot.id = t.video_id
    ON CONFLICT (video_id) DO UPDATE
   SET language = excluded.language,
       title_length = excluded.title_length,
       title_words = excluded.title_words,
       caps_share = excluded.caps_share,
       emoji = excluded.emoji,
       question = excluded.question,
       exclamations = excluded.exclamations,
       numerals = excluded.numerals,
       hashtags = excluded.hashtags,
       spoken_words = excluded.spoken_words,
       created_at = excluded.created_at;

-- name: search_widely
-- Until the transaction ends: look at enough of the graph, go on until enough frames of the asked model are found, and
-- compile nothing: many small searches look like one large one to the planner.
SELECT set_config('jit', 'off', true),
       set_config('hnsw.ef_search', %(effort)s::text, true),
       set_config('hnsw.iterative_scan', 'relaxed_order', true),
       set_config('hnsw.max_scan_tuples', '100000', true);

-- name: models_of
-- The models that frames of a video were described by, the newest first.
SELECT source_type
  FROM video_vectors
 WHERE video_id = %(video_id)s
 GROUP BY source_type
 ORDER BY max(created_at) DESC, source_type;

-- name: find_similar
-- The videos with the frames nearest to any frame of this one, each by its best pair of frames.
WITH own AS (
    SELECT frame_index, vector
      FROM video_vectors
     WHERE video_id = %(video_id)s
       AND source_type = %(source_type)s
     ORDER BY frame_index
     LIMIT %(own_frames)s
), pair AS (
    SELECT own.frame_index AS own_frame_index, near.*
      FROM own
     CROSS JOIN LATERAL (
           SELECT v.video_id, v.frame_index, 1 - (v.vector <=> own.vector) AS similarity
             FROM video_vectors AS v
            WHERE v.source_type = %(source_type)s
              AND v.video_id <> %(video_id)s
            ORDER BY v.vector <=> own.vector
            LIMIT %(frames)s
           ) AS near
), best AS (
    SELECT DISTINCT ON (video_id) *
      FROM pair
     ORDER BY video_id, similarity DESC, own_frame_index
)
SELECT b.video_id, v.title, v.channel_id, v.published_at, b.similarity, b.frame_index, b.own_frame_index,
       %(source_type)s AS source_type
  FROM best AS b
  JOIN videos AS v ON v.id = b.video_id
 ORDER BY b.similarity DESC, b.video_id
 LIMIT %(k)s;

-- name: find_duplicates
-- Of the next videos in order: those that each of them looks like, by their best pair of frames; none at all is NULL.
WITH page AS (
    SELECT DISTINCT video_id
      FROM video_vectors
     WHERE video_id > %(after)s
       AND source_type = %(source_type)s
     ORDER BY video_id
     LIMIT %(batch_size)s
), pair AS (
    SELECT page.video_id, near.video_id AS other_id, max(near.similarity) AS similarity
      FROM page
      JOIN video_vectors AS own ON own.video_id = page.video_id AND own.source_type = %(source_type)s
      LEFT JOIN LATERAL (
           SELECT * FROM (
                  SELECT v.video_id, 1 - (v.vector <=> own.vector) AS similarity
                    FROM video_vectors AS v
                   WHERE v.source_type = %(source_type)s
                     AND v.video_id <> own.video_id
                   ORDER BY v.vector <=> own.vector
                   LIMIT %(frames)s
                  ) AS nearest
            WHERE similarity >= %(at_least)s
           ) AS near ON true
     GROUP BY 1, 2
)
SELECT p.video_id, p.other_id, p.similarity, one.title, other.title AS other_title
  FROM pair AS p
  JOIN videos AS one ON one.id = p.video_id
  LEFT JOIN videos AS other ON other.id = p.other_id
 ORDER BY p.video_id, p.other_id;

-- name: models
-- The models that described frames, with how many.
SELECT source_type, count(*) AS frames
  FROM video_vectors
 GROUP BY source_type
 ORDER BY frames DESC, source_type;

-- name: trim_vectors
-- Delete the oldest vectors, so that at most so many are left; rows that somebody else deletes are left to them.
DELETE FROM video_vectors
 WHERE (video_id, frame_index, source_type) IN (
       SELECT video_id, frame_index, source_type
         FROM video_vectors
        WHERE created_at < %(now)s
          AND created_at <= (
              SELECT created_at
                FROM video_vectors
               ORDER BY created_at DESC
              OFFSET %(keep)s
               LIMIT 1
              )
          FOR UPDATE SKIP LOCKED
       );
