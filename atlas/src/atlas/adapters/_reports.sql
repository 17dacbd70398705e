-- What runs leave behind for those who watch the system.

-- name: report_run
-- Note an agent's run, unless a later one is noted already.
INSERT INTO agent_runs AS known (agent, run_id, started_at, ended_at, reason, summary, completed_at)
VALUES (
    %(agent)s, %(run_id)s, %(started_at)s, %(ended_at)s, %(reason)s, %(summary)s::jsonb,
    CASE WHEN %(reason)s::text IS NULL THEN %(ended_at)s::timestamptz END
)
    ON CONFLICT (agent) DO UPDATE
   SET run_id = excluded.run_id, started_at = excluded.started_at, ended_at = excluded.ended_at,
       reason = excluded.reason, summary = excluded.summary,
       completed_at = coalesce(excluded.completed_at, known.completed_at)
 WHERE known.ended_at <= excluded.ended_at;

-- name: report_losses
-- Add what a process lost.
INSERT INTO losses AS known (kind, lost, last_at)
SELECT kind, lost, %(now)s
  FROM unnest(%(kinds)s::text[], %(counts)s::bigint[]) AS given (kind, lost)
 ORDER BY kind
    ON CONFLICT (kind) DO UPDATE
   SET lost = known.lost + excluded.lost, last_at = excluded.last_at;

-- name: report_breakers
-- Note how the breakers of a process stand.
INSERT INTO breakers (name, state, failures, until, told_at)
SELECT name, state, failures, until, %(now)s
  FROM unnest(%(names)s::text[], %(states)s::text[], %(failures)s::int[], %(untils)s::timestamptz[])
       AS given (name, state, failures, until)
 ORDER BY name
    ON CONFLICT (name) DO UPDATE
   SET state = excluded.state, failures = excluded.failures, until = excluded.until, told_at = excluded.told_at;

-- name: runs
-- The last run of each agent.
SELECT agent, run_id, started_at, ended_at, reason, summary, completed_at
  FROM agent_runs
 ORDER BY agent;

-- name: losses
-- What was lost, ever.
SELECT kind, lost, last_at
  FROM losses
 ORDER BY kind;

-- name: breakers
-- How each breaker was last seen.
SELECT name, state, failures, until, told_at
  FROM breakers
 ORDER BY name;

-- name: beat
-- Note how the system is, and whether OPS is to be told: the state changed, a reason is new, or it is long ago.
-- Of any number that beat at once, one is told so.
INSERT INTO heartbeat AS known (state, reasons, since, told_at, told_by, seen_at)
VALUES (%(state)s, %(reasons)s::text[], %(now)s, %(now)s, %(token)s, %(now)s)
    ON CONFLICT (one) DO UPDATE
   SET (told_at, told_by) = (
           SELECT CASE WHEN tell THEN excluded.told_at ELSE known.told_at END,
                  CASE WHEN tell THEN excluded.told_by ELSE known.told_by END
             FROM (SELECT known.state <> excluded.state
                       OR NOT known.reasons @> excluded.reasons
                       OR known.told_at <= excluded.told_at - %(every)s::interval) AS decided (tell)
       ),
       since = CASE WHEN known.state = excluded.state THEN known.since ELSE excluded.since END,
       state = excluded.state, reasons = excluded.reasons, seen_at = excluded.seen_at
RETURNING since, told_by = %(token)s AS told;

