-- What a life under the real database left behind.

-- name: used_calls
-- Calls of the stats bucket, day by day.
SELECT used FROM quota_usage WHERE bucket = 'stats' ORDER BY day;

-- name: readings
-- Every reading since the beginning.
SELECT video_id, timestamp FROM video_stats_log WHERE timestamp >= %(begin)s;
