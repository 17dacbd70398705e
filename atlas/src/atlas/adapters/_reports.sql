-- What runs leave behind for those who watch the system.

-- name: report_run
-- Note an agent's run, unless a later one is noted already, and whether OPS is to be told: it fails in a way that was
-- not told since it last completed, or completes again. Of any number that report at once, one is told so.
INSERT INTO agent_runs AS known
       (agent, run_id, started_at, ended_at, reason, summary, completed_at, faults, faults_since, told_by)
VALUES (
    %(agent)s, %(run_id)s, %(started_at)s, %(ended_at)s, %(reason)s, %(summary)s::jsonb,
    CASE WHEN %(reason)s::text IS NULL THEN %(ended_at)s::timestamptz END,
    %(faults)s::text[],
    CASE WHEN %(reason)s::text IS NOT NULL THEN %(ended_at)s::timestamptz END,
    CASE WHEN %(reason)s::text IS NOT NULL THEN %(token)s::uuid END
)
    ON CONFLICT (agent) DO UPDATE
   SET run_id = excluded.run_id, started_at = excluded.started_at, ended_at = excluded.ended_at,
       reason = excluded.reason, summary = excluded.summary,
       completed_at = coalesce(excluded.completed_at, known.completed_at),
       told_by = CASE WHEN excluded.reason IS NULL AND known.faults <> '{}' THEN %(token)s::uuid
                      WHEN NOT known.faults @> excluded.faults THEN excluded.told_by
                      ELSE known.told_by
                  END,
       faults_since = CASE WHEN known.faults = '{}' THEN coalesce(excluded.faults_since, known.faults_since)
                           ELSE known.faults_since
                       END,
       faults = CASE WHEN excluded.reason IS NULL THEN '{}'
                     WHEN known.faults @> excluded.faults THEN known.faults
                     ELSE known.faults || excluded.faults
                 END
 WHERE known.ended_at <= excluded.ended_at
RETURNING told_by = %(token)s AS is_ours, faults_since;

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
-- Note how the system is, and lease the telling of it, when OPS has not heard of the state or of a reason, or heard of
-- them long ago, and nobody else is at it. A heartbeat that dies before it has told leaves that to the next.
INSERT INTO heartbeat AS known (state, reasons, since, seen_at, lease_token, leased_until)
VALUES (%(state)s, %(reasons)s::text[], %(now)s, %(now)s, %(token)s, %(now)s + %(lease)s)
    ON CONFLICT (one) DO UPDATE
   SET (lease_token, leased_until) = (
           SELECT CASE WHEN busy THEN known.lease_token WHEN news THEN excluded.lease_token END,
                  CASE WHEN busy THEN known.leased_until WHEN news THEN excluded.leased_until END
             FROM (SELECT coalesce(known.leased_until > excluded.seen_at, false),
                          known.told_state IS DISTINCT FROM excluded.state
                       OR NOT known.told_reasons @> excluded.reasons
                       OR known.told_at <= excluded.seen_at - %(every)s::interval) AS decided (busy, news)
       ),
       told_reasons = ARRAY(SELECT unnest(known.told_reasons) INTERSECT SELECT unnest(excluded.reasons) ORDER BY 1),
       since = CASE WHEN known.state = excluded.state THEN known.since ELSE excluded.since END,
       state = excluded.state, reasons = excluded.reasons, seen_at = excluded.seen_at
RETURNING since, CASE WHEN lease_token = %(token)s THEN lease_token END AS token;

-- name: beat_told
-- Note that OPS was told; not when the lease ran out and somebody else tells.
UPDATE heartbeat
   SET told_state = %(state)s,
       told_reasons = ARRAY(SELECT unnest(%(reasons)s::text[]) INTERSECT SELECT unnest(reasons) ORDER BY 1),
       told_at = %(now)s,
       lease_token = NULL,
       leased_until = NULL
 WHERE lease_token = %(token)s;

