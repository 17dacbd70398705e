-- What the benches compare with, and what they fill tables with.

-- name: naive_sample
-- The naive way: a statement for each sample.
INSERT INTO video_stats_log (video_id, timestamp, views, likes, comment_count)
VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING;

-- name: naive_schedule
-- And one for each next look.
UPDATE watchlist
   SET tracking_tier = %s,
       next_track_at = %s,
       last_tracked_at = %s,
       last_views = %s,
       last_likes = %s,
       last_comments = %s,
       rate = %s,
       misses = 0,
       attempts = 0,
       reason = NULL,
       lease_token = NULL,
       leased_until = NULL
 WHERE video_id = %s;

-- name: bare_copy
-- The limit: rows into the same table, and nothing else.
COPY video_stats_log (video_id, timestamp, views, likes, comment_count) FROM STDIN (FORMAT binary);

-- name: naive_channel
-- The naive way: a statement for each channel, known or not.
INSERT INTO channels (id, title, added_at, in_roster, next_poll_at)
VALUES (%s, %s, %s, true, %s)
    ON CONFLICT (id) DO UPDATE
   SET title = excluded.title;

-- name: naive_video
-- One for each video.
INSERT INTO videos (id, channel_id, title, published_at, duration, tags, category_id, default_language, wiki_topics,
                    discovered_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING;

-- name: naive_watch
-- One for each row of the watchlist.
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, added_at)
VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING;

-- name: fill_watchlist
-- Watch videos with ids as YouTube's; a fifth of them is due, in an order that is nobody's.
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, last_tracked_at, last_views,
                       last_likes, last_comments, rate, added_at)
SELECT left(translate(encode(decode(md5(n::text), 'hex'), 'base64'), '+/', '-_'), 11),
       'UC' || left(translate(encode(decode(md5((n %% 99991)::text), 'hex'), 'base64'), '+/', '-_'), 22),
       %(now)s - interval '30 days' * random() - interval '1 hour',
       'DAILY',
       %(now)s + interval '5 days' * (random() - 0.2),
       %(now)s - interval '1 day',
       n, n / 20, n / 200, 1.5,
       %(now)s - interval '30 days'
  FROM generate_series(1, %(rows)s) AS n
    ON CONFLICT DO NOTHING;

-- name: partition_watchlist
-- The watchlist in eight parts by its key, each as the one table is; nothing that runs on it is changed.
ALTER TABLE watchlist RENAME TO watchlist_in_one;
ALTER INDEX watchlist_due RENAME TO watchlist_in_one_due;
CREATE TABLE watchlist (LIKE watchlist_in_one INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY HASH (video_id);
ALTER TABLE watchlist ADD PRIMARY KEY (video_id);
CREATE INDEX watchlist_due ON watchlist (next_track_at);
DO $$
BEGIN
    FOR part IN 0..7 LOOP
        EXECUTE format('CREATE TABLE watchlist_%1$s PARTITION OF watchlist FOR VALUES WITH (MODULUS 8, REMAINDER %1$s) '
                       'WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02)', part);
    END LOOP;
END $$;

-- name: weights
-- Rows of tables with all their partitions, as VACUUM counted them, and their bytes.
SELECT name, sum(c.reltuples) AS rows, sum(pg_table_size(c.oid)) AS heap, sum(pg_indexes_size(c.oid)) AS indexes
  FROM unnest(%(tables)s::text[]) AS name
 CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(name::regclass) UNION SELECT name::regclass) AS part
  JOIN pg_class AS c ON c.oid = part.relid AND c.relkind = 'r'
 GROUP BY name
 ORDER BY array_position(%(tables)s::text[], name);

-- name: watch
-- Watch these videos, all due.
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, last_tracked_at, last_views,
                       last_likes, last_comments, rate, added_at)
SELECT id, 'UC', %(now)s - interval '9 days', 'DAILY', %(now)s - interval '1 hour' * random(),
       %(now)s - interval '1 day', 1000, 50, 5, 1.5, %(now)s - interval '9 days'
  FROM unnest(%(ids)s::text[]) AS id;

-- name: lease
-- Lease these videos under one token.
UPDATE watchlist
   SET lease_token = %(token)s,
       leased_until = %(now)s + interval '1 hour'
 WHERE video_id = ANY(%(ids)s::text[]);

-- name: day_of_samples
-- A day's samples, to be read and thrown away.
COPY (SELECT video_id, timestamp, views, likes, comment_count
        FROM video_stats_log
       WHERE timestamp >= %(start)s
         AND timestamp < %(stop)s) TO STDOUT (FORMAT binary);

-- name: roster
-- The channels whose uploads are polled, and since when we know them.
SELECT id, added_at
  FROM channels
 WHERE in_roster;

-- name: found
-- What was discovered since then, and when.
SELECT video_id, added_at
  FROM watchlist
 WHERE added_at >= %(since)s;

-- name: barren_terms
-- Terms that were searched and never brought a new video.
SELECT query_term
  FROM search_queue
 WHERE last_searched_at IS NOT NULL
   AND new_count_total = 0;

-- name: videos_of_one_channel
-- As many videos as asked for.
WITH channel AS (
    INSERT INTO channels (id, added_at) VALUES ('UC', %(now)s)
)
INSERT INTO videos (id, channel_id, title, published_at, discovered_at)
SELECT 'v' || lpad(n::text, 10, '0'), 'UC', 'Video ' || n, %(now)s, %(now)s
  FROM generate_series(0, %(count)s - 1) AS n;

-- name: all_distances
-- The limit of accuracy: all distances, sorted.
SELECT video_id
  FROM video_vectors
 WHERE video_id <> %(video_id)s
 ORDER BY vector <=> (SELECT vector FROM video_vectors WHERE video_id = %(video_id)s)
 LIMIT %(k)s;

-- name: naive_event
-- An event by itself.
INSERT INTO system_events (event_type, entity_id, payload, created_at)
VALUES ('bench.event', %s, '{"misses": 3, "reason": "not found", "tier": "DORMANT"}', now());
