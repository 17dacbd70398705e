-- The whole current schema of Pleiades, for an empty database with pgvector.
-- The forward steps from any earlier release are in migrations/; a test proves that both roads end in the same catalog.
-- Plain PostgreSQL 15 or later. All times are timestamptz, UTC. Ids of YouTube are text in "C" order.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL
);

-- The tiers of ghost tracking: labels, and bounds of the interval between two looks.
CREATE TYPE tracking_tier AS ENUM ('HOURLY', 'DAILY', 'WEEKLY', 'DORMANT');

------------------------------------------------------------------------------------------------------------------------
-- Channels: who publishes, and when we read their uploads playlist next.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE channels (
    id              text COLLATE "C" PRIMARY KEY,
    title           text,
    country         text,
    custom_url      text,
    created_at      timestamptz,                       -- when the channel was opened on YouTube, once known
    is_verified     boolean,
    last_scraped_at timestamptz,                       -- when channels.list was last read for it
    added_at        timestamptz NOT NULL,
    in_roster       boolean     NOT NULL DEFAULT false,-- is its uploads playlist polled?
    pinned          boolean     NOT NULL DEFAULT false,-- added by hand: never leaves the roster
    next_poll_at    timestamptz,
    last_polled_at  timestamptz,
    upload_rate     real        NOT NULL DEFAULT 0,    -- smoothed new videos per day
    poll_attempts   smallint    NOT NULL DEFAULT 0,    -- failures in a row
    poll_reason     text,                              -- why the last poll failed
    lease_token     uuid,
    leased_until    timestamptz,
    CHECK (NOT in_roster OR next_poll_at IS NOT NULL)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

-- fetch_channel_batch: the roster's due channels, oldest first.
CREATE INDEX channels_due ON channels (next_poll_at) WHERE in_roster;

CREATE TABLE channel_history (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id text COLLATE "C" NOT NULL,
    changed_at timestamptz NOT NULL,
    old_title  text,                                   -- or handle, or country, as the event type says
    new_title  text,
    event_type text NOT NULL CHECK (event_type IN ('renamed', 'handle_changed', 'country_changed'))
);

-- A channel's past names, newest last.
CREATE INDEX channel_history_of_channel ON channel_history (channel_id, changed_at);

CREATE TABLE channel_stats_log (
    channel_id       text COLLATE "C" NOT NULL,
    timestamp        timestamptz NOT NULL,
    view_count       bigint,
    subscriber_count bigint,                           -- absent when hidden
    video_count      bigint,
    PRIMARY KEY (channel_id, timestamp)
) PARTITION BY RANGE (timestamp);

CREATE TABLE channel_stats_log_default PARTITION OF channel_stats_log DEFAULT;

------------------------------------------------------------------------------------------------------------------------
-- Videos: the hot queue, and the work left on each.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE videos (
    id               text COLLATE "C" PRIMARY KEY,
    channel_id       text COLLATE "C" NOT NULL REFERENCES channels (id),
    title            text        NOT NULL,
    published_at     timestamptz NOT NULL,
    duration         integer,                          -- seconds; absent for live and upcoming videos
    tags             text[]      NOT NULL DEFAULT '{}',
    category_id      text,
    default_language text,
    wiki_topics      text[]      NOT NULL DEFAULT '{}',-- Wikipedia addresses
    discovered_at    timestamptz NOT NULL
);

-- Videos that carry a tag.
CREATE INDEX videos_tags ON videos USING gin (tags);
-- Videos of a category, newest first.
CREATE INDEX videos_category ON videos (category_id, published_at);
-- Videos published in a window.
CREATE INDEX videos_published ON videos (published_at);
-- fetch_expired_videos: the hot queue's oldest, for the Janitor.
CREATE INDEX videos_discovered ON videos (discovered_at, id);
-- The foreign key's own look-ups, and a channel's videos.
CREATE INDEX videos_channel ON videos (channel_id);

-- A title that a video had; it goes with the video, since the vault has it by then.
CREATE TABLE video_history (
    video_id   text COLLATE "C" NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    changed_at timestamptz NOT NULL,
    old_title  text        NOT NULL,
    new_title  text        NOT NULL,
    PRIMARY KEY (video_id, changed_at)
);

-- A row is work left for an agent on a video; it goes away when the work ends well.
CREATE TABLE video_stage (
    video_id        text COLLATE "C" NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    stage           text        NOT NULL CHECK (stage IN ('painter', 'scribe')),
    state           text        NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DEAD')),
    attempts        smallint    NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,              -- infinity: not before the Painter has ended with the video
    reason          text,
    lease_token     uuid,
    leased_until    timestamptz,
    PRIMARY KEY (video_id, stage)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

-- fetch_painter_targets, fetch_scribe_targets: due work of a stage, oldest first.
CREATE INDEX video_stage_due ON video_stage (stage, next_attempt_at) WHERE state = 'PENDING';

------------------------------------------------------------------------------------------------------------------------
-- The watchlist: every video tracked, for ever. No foreign key to videos: it outlives the hot queue.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE watchlist (
    video_id        text COLLATE "C" PRIMARY KEY,
    channel_id      text COLLATE "C",
    published_at    timestamptz   NOT NULL,
    tracking_tier   tracking_tier NOT NULL,
    next_track_at   timestamptz   NOT NULL,
    last_tracked_at timestamptz,
    last_views      bigint,
    last_likes      bigint,
    last_comments   bigint,
    rate            real,                              -- smoothed views an hour; absent before the second sample
    short           boolean,                           -- is it a Short, by its length; absent while that is unknown
    older_at        timestamptz,                       -- two earlier samples, for the speed over a window: the older is
    older_views     bigint,                            -- a window old; absent where the last sample is too long ago
    newer_at        timestamptz,
    newer_views     bigint,
    level           real,                              -- its smoothed log rate over the median of its format and age
    evidence        real          NOT NULL DEFAULT 0,  -- hours the level was learned from, faded
    misses          smallint      NOT NULL DEFAULT 0,  -- confirmed misses in a row
    attempts        smallint      NOT NULL DEFAULT 0,  -- failed readings in a row
    reason          text,                              -- why the last reading failed
    lease_token     uuid,
    leased_until    timestamptz,
    added_at        timestamptz   NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_limit = 2000);

-- fetch_tracking_batch: the due videos, oldest first.
CREATE INDEX watchlist_due ON watchlist (next_track_at);

-- A video that rises, or rose a day ago; all others have no row.
CREATE TABLE rises (
    video_id     text COLLATE "C" PRIMARY KEY,
    state        text        NOT NULL CHECK (state IN ('RISING', 'VIRAL', 'COOLING')),
    since        timestamptz NOT NULL,                 -- when the state began
    began_at     timestamptz NOT NULL,                 -- when the rise began
    raised_at    timestamptz,                          -- when it became VIRAL; absent while it is only RISING
    told_at      timestamptz,                          -- when SURVEILLANCE was told of it
    score        real        NOT NULL,
    rate         real        NOT NULL,                 -- views an hour over the window
    times        real        NOT NULL,                 -- how many times what was expected that is
    views        bigint      NOT NULL,
    seen_at      timestamptz NOT NULL,                 -- when these figures were true
    lease_token  uuid,
    leased_until timestamptz
);

-- claim_untold_rises: those SURVEILLANCE has not heard of.
CREATE INDEX rises_untold ON rises (raised_at) WHERE told_at IS NULL AND raised_at IS NOT NULL;

-- What a channel lets expect of its videos of a format: medians and a scaled MAD over the curve of the format.
CREATE TABLE expectations (
    channel_id  text COLLATE "C" NOT NULL,             -- empty: all videos of the format
    short       boolean NOT NULL,
    videos      integer NOT NULL,                      -- that it was learned from
    level       real    NOT NULL,                      -- of log rates
    spread      real    NOT NULL,
    week_videos integer NOT NULL,                      -- that are older than a week
    week        real,                                  -- of log counts after a week; absent where no video is as old
    PRIMARY KEY (channel_id, short)
);

-- The median log rate, views an hour, of all videos of a format at an age.
CREATE TABLE expected_rates (
    short    boolean NOT NULL,
    age      real    NOT NULL,                         -- hours
    log_rate real    NOT NULL,
    videos   integer NOT NULL,
    learned_on date NOT NULL,                          -- UTC; a day is learned from once
    PRIMARY KEY (short, age)
);

-- What a look at a video must be worth, and the measures of worth; one row, moved by whichever Tracker comes first.
CREATE TABLE tracking_market (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    price        double precision NOT NULL,
    flow         double precision NOT NULL,            -- the mean of rate to the power that worth has it in
    growth       double precision NOT NULL,            -- the mean relative growth an hour
    newcomer     double precision NOT NULL,            -- views an hour of a usual young video
    appraised_at timestamptz      NOT NULL
);

-- A sample. No foreign key; a default partition, so that no insert can fail for want of a day.
CREATE TABLE video_stats_log (
    video_id      text COLLATE "C" NOT NULL,
    timestamp     timestamptz NOT NULL,
    views         bigint,
    likes         bigint,                              -- absent when hidden, which is not zero
    comment_count bigint,
    PRIMARY KEY (video_id, timestamp)
) PARTITION BY RANGE (timestamp);

CREATE TABLE video_stats_log_default PARTITION OF video_stats_log DEFAULT;

------------------------------------------------------------------------------------------------------------------------
-- Search terms.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE search_queue (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    query_term         text        NOT NULL UNIQUE,    -- trimmed, casefolded
    priority           smallint    NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 100),
    pinned             boolean     NOT NULL DEFAULT false,
    mention_count      integer     NOT NULL DEFAULT 1,
    status             text        NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'ASLEEP')),
    next_search_at     timestamptz NOT NULL,
    last_searched_at   timestamptz,
    searched_until     timestamptz,                    -- publication times up to here were searched
    window_after       timestamptz,                    -- the publication window of the last search
    window_before      timestamptz,
    window_seen        integer     NOT NULL DEFAULT 0, -- results passed in that window
    window_rest        timestamptz,                    -- what of it is older than this is left; absent: nothing
    next_page_token    text,                           -- where that window goes on
    page_token_at      timestamptz,                    -- when the token was given
    result_count_total bigint      NOT NULL DEFAULT 0, -- candidates seen, ever
    new_count_total    bigint      NOT NULL DEFAULT 0, -- of them, new to us
    yield              real        NOT NULL DEFAULT 0, -- smoothed new videos per call
    attempts           smallint    NOT NULL DEFAULT 0, -- failures in a row
    reason             text,
    lease_token        uuid,
    leased_until       timestamptz,
    added_at           timestamptz NOT NULL,
    last_mentioned_at  timestamptz NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

-- fetch_hunter_batch: pinned terms first, then by waiting time, a point of priority counting as a day.
CREATE INDEX search_queue_due ON search_queue (
    pinned DESC, (next_search_at - timestamptz '2000-01-01 00:00+00' - priority * interval '24 hours')
) WHERE status = 'ACTIVE';

------------------------------------------------------------------------------------------------------------------------
-- Other sources of candidates: walks of back catalogues, charts, feeds.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE sources (
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('walk', 'chart', 'feed')),
    name         text COLLATE "C" NOT NULL,            -- a channel's id; a chart's region, or region:category
    next_read_at timestamptz NOT NULL,
    last_read_at timestamptz,
    page_token   text,                                 -- where it goes on; absent: at the beginning
    passed       integer     NOT NULL DEFAULT 0,       -- videos before that place
    back_to      timestamptz,                          -- a walk ends at older videos than this; absent: at the last
    attempts     smallint    NOT NULL DEFAULT 0,       -- failures in a row
    reason       text,
    lease_token  uuid,
    leased_until timestamptz,
    added_at     timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);

-- fetch_source_batch: the due sources of a kind, oldest first.
CREATE INDEX sources_due ON sources (kind, next_read_at);

-- A candidate that was looked up and not stored: not looked up again for a while.
CREATE TABLE rejected (
    video_id text COLLATE "C" PRIMARY KEY,
    reason   text        NOT NULL,
    until    timestamptz NOT NULL
);

-- forget_rejected: those whose time is up.
CREATE INDEX rejected_until ON rejected (until);

------------------------------------------------------------------------------------------------------------------------
-- What the Scribe knows of a hot video; it goes with the video. The vault has what it was made from.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE video_vectors (
    video_id    text COLLATE "C" NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    frame_index smallint     NOT NULL,
    source_type text         NOT NULL,                 -- the model; never mixed in one search
    vector      halfvec(512) NOT NULL,                 -- of length 1; at full precision it would leave its row (TOAST)
    created_at  timestamptz  NOT NULL,
    PRIMARY KEY (video_id, frame_index, source_type)
);

-- find_similar, find_duplicates: nearest frames by cosine distance, of all models.
CREATE INDEX video_vectors_nearest ON video_vectors USING hnsw (vector halfvec_cosine_ops);
-- trim_vectors: the newest, and what is older.
CREATE INDEX video_vectors_age ON video_vectors (created_at);

CREATE TABLE video_features (
    video_id      text COLLATE "C" PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE,
    language      text,                                -- ISO 639, of title and transcript; absent when unsure
    title_length  smallint    NOT NULL,                -- characters
    title_words   smallint    NOT NULL,
    caps_share    real        NOT NULL,                -- of the title's letters that have case, 0 … 1
    emoji         smallint    NOT NULL,
    question      boolean     NOT NULL,
    exclamations  smallint    NOT NULL,
    numerals      smallint    NOT NULL,                -- numbers, not digits
    hashtags      smallint    NOT NULL,
    spoken_words  integer,                             -- of the transcript; absent without one
    created_at    timestamptz NOT NULL
);

------------------------------------------------------------------------------------------------------------------------
-- Events: an audit trail nobody rewrites.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE system_events (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    event_type text        NOT NULL,
    entity_id  text COLLATE "C",
    payload    jsonb       NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    xact       xid8        NOT NULL DEFAULT pg_current_xact_id(),-- ids are no order of commits: readers go by this
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);

-- look: what was committed since a reader looked last.
CREATE INDEX system_events_xact ON system_events (xact);

CREATE TABLE system_events_default PARTITION OF system_events DEFAULT;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'system_events is immutable: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER system_events_immutable BEFORE UPDATE OR DELETE ON system_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Partitions inherit the trigger for rows, not this one: each gets its own when it is made.
CREATE TRIGGER untruncated BEFORE TRUNCATE ON system_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER untruncated BEFORE TRUNCATE ON system_events_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who listens is told that there is something to read; a transaction tells it once, however much it records.
CREATE FUNCTION tell_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pleiades_events', '');
    RETURN NULL;
END $$;

CREATE TRIGGER system_events_told AFTER INSERT ON system_events
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_events();

-- How far a reader has come that goes on there when it comes back, in this process or another.
CREATE TABLE event_readers (
    name         text        PRIMARY KEY,
    seen         pg_snapshot NOT NULL,                 -- all events of these transactions are behind it
    last_id      bigint      NOT NULL,                 -- the newest of them
    upto         pg_snapshot,                          -- what it reads now: the events of these transactions besides
    upto_id      bigint,                               -- the newest of those
    position     bigint,                               -- the last one it read
    moved_at     timestamptz NOT NULL,
    lease_token  uuid,
    leased_until timestamptz
);

-- An event that a webhook refused, or could not take for too long.
CREATE TABLE event_dead_letters (
    event_id   bigint      PRIMARY KEY,
    event_type text        NOT NULL,
    entity_id  text COLLATE "C",
    payload    jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    failed_at  timestamptz NOT NULL,
    reason     text        NOT NULL
);

------------------------------------------------------------------------------------------------------------------------
-- Quota, keys, the vault's index, and leases that have no queue of their own.
------------------------------------------------------------------------------------------------------------------------
CREATE TABLE quota_usage (
    project    text    NOT NULL,
    bucket     text    NOT NULL CHECK (bucket IN ('search', 'stats', 'general')),
    day        date    NOT NULL,                       -- the Pacific day
    used       integer NOT NULL DEFAULT 0 CHECK (used >= 0),
    purposes   jsonb   NOT NULL DEFAULT '{}',          -- the same units by what they were used for: {"poll": 12, …}
    refused_at timestamptz,                            -- when the server said the bucket is spent
    PRIMARY KEY (project, bucket, day)
);

CREATE TABLE api_keys (
    fingerprint      text        PRIMARY KEY,          -- a short digest; the key itself is never stored
    project          text        NOT NULL,
    disabled_at      timestamptz,
    disabled_because text,
    first_seen_at    timestamptz NOT NULL
);

-- A shard that was read back from the vault and matched.
CREATE TABLE vault_manifest (
    path        text COLLATE "C" PRIMARY KEY,
    kind        text        NOT NULL,
    day         date        NOT NULL,                  -- the partition: date=YYYY-MM-DD
    digest      text        NOT NULL,                  -- of the canonical rows
    rows        bigint      NOT NULL,
    bytes       bigint      NOT NULL,
    min_time    timestamptz NOT NULL,
    max_time    timestamptz NOT NULL,
    verified_at timestamptz NOT NULL
);

-- timeline: the shards of a kind that can hold a day.
CREATE INDEX vault_manifest_day ON vault_manifest (kind, day);

-- The one vault that vault_manifest speaks of, by the name in its marker.
CREATE TABLE vault_identity (
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    id       text        NOT NULL,
    provider text        NOT NULL,
    seen_at  timestamptz NOT NULL
);

CREATE TABLE work_leases (
    name         text        PRIMARY KEY,
    lease_token  uuid        NOT NULL,
    leased_until timestamptz NOT NULL
);

------------------------------------------------------------------------------------------------------------------------
-- How the system is: what runs leave behind for those who watch it.
------------------------------------------------------------------------------------------------------------------------
-- The last run of an agent.
CREATE TABLE agent_runs (
    agent        text        PRIMARY KEY,
    run_id       text        NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    reason       text,                                 -- why it failed; absent when it completed
    summary      jsonb       NOT NULL DEFAULT '{}',    -- what it did; of one that failed: nothing
    completed_at timestamptz,                          -- when a run last completed
    faults       text[]      NOT NULL DEFAULT '{}',    -- kinds of failure that OPS heard of since then
    faults_since timestamptz,                          -- when the last series of failures began
    told_by      uuid                                  -- whose turn it was to tell OPS
);

-- What was swallowed by any process, ever: events, alerts.
CREATE TABLE losses (
    kind    text        PRIMARY KEY,
    lost    bigint      NOT NULL,
    last_at timestamptz NOT NULL
);

-- A circuit breaker as the last process left it that used it.
CREATE TABLE breakers (
    name     text        PRIMARY KEY,
    state    text        NOT NULL CHECK (state IN ('closed', 'opened', 'half-opened')),
    failures integer     NOT NULL,                     -- in a row
    until    timestamptz,                              -- when an opened one lets the next call through
    told_at  timestamptz NOT NULL
);

-- How the heartbeat last found the system, and what OPS was told of it.
CREATE TABLE heartbeat (
    one          boolean     PRIMARY KEY DEFAULT true CHECK (one),
    state        text        NOT NULL CHECK (state IN ('Healthy', 'Attention', 'Degraded')),
    reasons      text[]      NOT NULL,                 -- their kinds
    since        timestamptz NOT NULL,                 -- when this state began
    seen_at      timestamptz NOT NULL,
    told_state   text,                                 -- what OPS heard last; absent before the first time
    told_reasons text[]      NOT NULL DEFAULT '{}',    -- those that OPS knows of and that still hold
    told_at      timestamptz,
    lease_token  uuid,                                 -- of whoever is telling
    leased_until timestamptz
);

------------------------------------------------------------------------------------------------------------------------
-- Partitions are made and dropped by these, in the name of whoever owns the tables: so the agents' role owns nothing.
------------------------------------------------------------------------------------------------------------------------
CREATE FUNCTION require_partitioned(parent text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF parent NOT IN ('video_stats_log', 'channel_stats_log', 'system_events') THEN
        RAISE EXCEPTION '% has no partitions of ours', parent USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- A caller's temporary table of the same name must not come first.
    PERFORM set_config('search_path', format('%I, pg_temp', current_schema()), true);
END $$;

-- Let nobody else into a table until the transaction ends.
CREATE FUNCTION lock_partitioned(parent text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM require_partitioned(parent);
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
END $$;

-- Make partition `part` of `parent` for the times from `start` until before `stop`; rows that came early move into it.
-- False when it is there. Who writes waits for the transaction: else a row on its way to the default partition could
-- arrive there when it no longer may. Readers wait only while the partition is attached, which waits for those there, for
-- `patience` at most.
CREATE FUNCTION make_partition(parent text, part text, start timestamptz, stop timestamptz, patience interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    moment text := CASE parent WHEN 'system_events' THEN 'created_at' ELSE 'timestamp' END;
    early  boolean;
BEGIN
    PERFORM require_partitioned(parent);
    IF part !~ ('^' || parent || '_[0-9]{6,8}$') THEN
        RAISE EXCEPTION '% is no name for a partition of %', part, parent USING ERRCODE = 'invalid_name';
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE ROW EXCLUSIVE MODE', parent);
    PERFORM set_config('lock_timeout', (extract(epoch FROM patience) * 1000)::integer::text, true);
    IF to_regclass(quote_ident(part)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Keys, identity and triggers for rows come when it is attached.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', part, parent);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= $1 AND %2$I < $2)', parent || '_default', moment)
       INTO early USING start, stop;
    IF early THEN
        -- Moving a row is neither changing nor deleting it: what refuses that keeps still meanwhile.
        EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', parent || '_default');
        EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE %I >= $1 AND %3$I < $2', part, parent || '_default', moment)
          USING start, stop;
        EXECUTE format('DELETE FROM %I WHERE %I >= $1 AND %2$I < $2', parent || '_default', moment) USING start, stop;
        EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER', parent || '_default');
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part, start, stop);
    IF parent = 'system_events' THEN
        -- What refuses changes of rows is inherited; what refuses to empty a table is not.
        EXECUTE format('CREATE TRIGGER untruncated BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                       part);
    END IF;
    RETURN true;
END $$;

-- Drop partition `part` of `parent` with its rows; false when there is none. Events go only in exchange for shards of
-- their day that hold as many.
CREATE FUNCTION drop_partition(parent text, part text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    held bigint;
BEGIN
    PERFORM require_partitioned(parent);
    IF NOT EXISTS (SELECT FROM pg_inherits
                    WHERE inhparent = to_regclass(quote_ident(parent)) AND inhrelid = to_regclass(quote_ident(part))
                      AND part <> parent || '_default') THEN
        RETURN false;
    END IF;
    IF parent = 'system_events' THEN
        EXECUTE format('SELECT count(*) FROM %I', part) INTO held;
        IF held > (SELECT coalesce(sum(rows), 0) FROM vault_manifest
                    WHERE kind = 'events' AND day = to_date(right(part, 8), 'YYYYMMDD')) THEN
            RAISE EXCEPTION 'the vault is not proven to hold the events of %', part USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    EXECUTE format('DROP TABLE %I', part);
    RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION lock_partitioned(text), make_partition(text, text, timestamptz, timestamptz, interval),
                           drop_partition(text, text) FROM PUBLIC;
