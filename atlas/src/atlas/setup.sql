-- name: take_turns
-- Be the only one who provisions this database until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('pleiades setup', 0));

-- name: patience
-- A migration may work long, but never waits long: whoever waits for a lock holds up everybody behind it.
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '5s', true);

-- name: server
-- What the server is and has.
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       (SELECT string_to_array(coalesce(installed_version, default_version), '.')::int[]
          FROM pg_available_extensions
         WHERE name = 'vector') AS vector;

-- name: has_history
-- Is there a schema_migrations that is ours? Null: there is none at all.
SELECT bool_and(column_name = ANY ('{version,name,applied_at}')
                AND (column_name <> 'version' OR data_type = 'integer'))
  FROM information_schema.columns
 WHERE table_schema = current_schema() AND table_name = 'schema_migrations';

-- name: version
-- The last step that was applied; zero before the first.
SELECT coalesce(max(version), 0) AS version FROM schema_migrations;

-- name: taken
-- Which of the names that we want for our tables are taken.
SELECT table_name AS name
  FROM information_schema.tables
 WHERE table_schema = current_schema() AND table_name = ANY (%(names)s)
 ORDER BY table_name;

-- name: record
-- Note the steps that are applied with this transaction.
INSERT INTO schema_migrations (version, name, applied_at)
SELECT step.version, step.name, %(now)s
  FROM unnest(%(versions)s::int[], %(names)s::text[]) AS step (version, name);
