-- name: live
-- Make the keys known, and name those that are not disabled, in no promised order.
WITH given AS (
    SELECT *
      FROM unnest(%(fingerprints)s::text[], %(projects)s::text[]) AS given (fingerprint, project)
), moved AS (
    INSERT INTO api_keys AS known (fingerprint, project, first_seen_at)
    SELECT fingerprint, project, %(now)s
      FROM given
     ORDER BY fingerprint
        ON CONFLICT (fingerprint) DO UPDATE
       SET project = excluded.project
     WHERE known.project <> excluded.project
)
SELECT fingerprint
  FROM given
 WHERE NOT EXISTS (
           SELECT
             FROM api_keys AS known
            WHERE known.fingerprint = given.fingerprint
              AND known.disabled_at IS NOT NULL
       );

-- name: disable
-- Disable a key; a row for the first who does it, none when it was disabled already.
INSERT INTO api_keys AS known (fingerprint, project, first_seen_at, disabled_at, disabled_because)
VALUES (%(fingerprint)s, %(project)s, %(now)s, %(now)s, %(reason)s)
    ON CONFLICT (fingerprint) DO UPDATE
   SET disabled_at = excluded.disabled_at, disabled_because = excluded.disabled_because
 WHERE known.disabled_at IS NULL
RETURNING fingerprint;

-- name: enable
-- Put a disabled key back to work; a row when there was one.
UPDATE api_keys
   SET disabled_at = NULL, disabled_because = NULL
 WHERE fingerprint = %(fingerprint)s
   AND disabled_at IS NOT NULL
RETURNING fingerprint;

-- name: states
-- Every key ever used, the first seen first.
SELECT fingerprint, project, first_seen_at, disabled_at, disabled_because
  FROM api_keys
 ORDER BY first_seen_at, fingerprint;
