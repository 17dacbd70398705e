-- Statements on roles; in braces: names and passwords, which take no parameters.

-- name: role
-- What a role may do, if there is one; ours is whoever asks, and owns the tables.
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication OR pg_has_role(oid, current_user, 'MEMBER')
       AS mighty
  FROM pg_roles
 WHERE rolname = %(name)s;

-- name: create
-- It begins with nothing.
CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: password
-- Let it log in by this password, of which the server sees a verifier only.
ALTER ROLE {role} LOGIN PASSWORD {verifier};

-- name: strip
-- Take away what an earlier release gave.
REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};

-- name: enter
-- Let it into the database.
GRANT CONNECT ON DATABASE {database} TO {role};

-- name: look_round
-- Let it see the schema.
GRANT USAGE ON SCHEMA {schema} TO {role};

-- name: nobody_creates
-- On a server that was once older than 15 anybody might make tables there.
REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;

-- name: statistics
-- Let it see how old other roles' transactions are, which the heartbeat and the metrics tell.
GRANT pg_read_all_stats TO {role};

-- name: read
-- Let it read everything.
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};

-- name: read_only
-- Let its transactions refuse to write, whatever it is given later.
ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = on;

-- name: write
-- Let it work on the queues and what is stored.
GRANT INSERT, UPDATE, DELETE ON {tables} TO {role};

-- name: append
-- Let it add to the log of events, and neither change nor delete what is there.
GRANT INSERT ON {log} TO {role};

-- name: partitions
-- Let it have partitions made, locked and dropped.
GRANT EXECUTE ON FUNCTION make_partition(text, text, timestamptz, timestamptz, interval), lock_partitioned(text),
                          drop_partition(text, text) TO {role};

-- name: take_turns
-- Be the only one who gives roles their rights here until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('pleiades roles', 0));

-- name: here
-- Which database and schema this is.
SELECT current_database() AS database, current_schema() AS schema;
