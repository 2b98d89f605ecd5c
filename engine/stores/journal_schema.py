"""The tables of the journal in Postgres, as the steps that make them; a step that was released is never changed.

`answers` is partitioned by month, so that a month is forgotten by dropping its table. Its key has the time in it,
because every key of a partitioned table must. The two functions run with the rights of whoever owns the tables: a role
that writes the journal may make no table itself.
"""

from __future__ import annotations

SCHEMA = "nightscan_engine"
LOCK_KEY = 5_284_061_371_209  # arbitrary, and the same in all versions: whoever changes the tables holds it

_TABLES = """
CREATE TABLE nightscan_engine.answers (
    answered_at   timestamptz      NOT NULL,
    id            uuid             NOT NULL,
    request_id    text             NOT NULL,
    deployment    text             NOT NULL,
    model_version text             NOT NULL,
    route         text             NOT NULL,
    status        integer          NOT NULL,
    outcome       text             NOT NULL,
    error_code    text             NOT NULL,
    file          text             NOT NULL,
    size_bytes    bigint           NOT NULL,
    duration_s    double precision NOT NULL,
    latency_s     double precision NOT NULL,
    cache         text             NOT NULL,
    client        text             NOT NULL,
    priority      integer          NOT NULL,
    segments      jsonb            NOT NULL,
    PRIMARY KEY (answered_at, id)
) PARTITION BY RANGE (answered_at);

CREATE VIEW nightscan_engine.detections AS
SELECT answers.answered_at                         AS "time",
       answers.file                                AS file,
       (segment.value ->> 0)::integer              AS segment,
       (segment.value ->> 1)::double precision     AS start_s,
       (segment.value ->> 2)::double precision     AS end_s,
       likely.value ->> 0                          AS label,
       (likely.value ->> 1)::double precision      AS probability,
       answers.request_id                          AS request_id
FROM nightscan_engine.answers AS answers
CROSS JOIN LATERAL jsonb_array_elements(answers.segments) AS segment(value)
CROSS JOIN LATERAL jsonb_array_elements(segment.value -> 3) AS likely(value);
"""

_FUNCTIONS = f"""
CREATE FUNCTION nightscan_engine.make_month(moment timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET lock_timeout = '5s' AS $$
DECLARE
    first timestamptz := date_trunc('month', moment);
    home  regnamespace := 'nightscan_engine';
    part  text := to_char(first, '"answers_"YYYY_MM');
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = home AND relname = part) THEN
        PERFORM pg_advisory_xact_lock({LOCK_KEY});
        IF NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = home AND relname = part) THEN
            EXECUTE format('CREATE TABLE nightscan_engine.%I (LIKE nightscan_engine.answers INCLUDING ALL)', part);
            EXECUTE format('ALTER TABLE nightscan_engine.answers ATTACH PARTITION nightscan_engine.%I'
                           ' FOR VALUES FROM (%L) TO (%L)', part, first, first + interval '1 month');
        END IF;
    END IF;
    RETURN part;
END $$;

CREATE FUNCTION nightscan_engine.forget_months(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET lock_timeout = '2s' AS $$
DECLARE
    part    text;
    count   bigint;
    dropped bigint := 0;
BEGIN
    FOR part IN
        SELECT child.relname FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'nightscan_engine.answers'::regclass AND child.relname ~ '^answers_[0-9]{{4}}_[0-9]{{2}}$'
          AND to_date(child.relname, '"answers_"YYYY_MM') + interval '1 month' <= before
        ORDER BY child.relname
    LOOP
        PERFORM pg_advisory_xact_lock({LOCK_KEY});
        EXECUTE format('SELECT count(*) FROM nightscan_engine.%I', part) INTO count;
        EXECUTE format('DROP TABLE nightscan_engine.%I', part);
        dropped := dropped + count;
    END LOOP;
    RETURN dropped;
END $$;

REVOKE ALL ON FUNCTION nightscan_engine.make_month(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION nightscan_engine.forget_months(timestamptz) FROM PUBLIC;
"""

STEPS = (_TABLES + _FUNCTIONS,)  # the first makes version 1, and so on

VERSIONS_TABLE = """
DO $$ BEGIN
    IF to_regnamespace('nightscan_engine') IS NULL THEN
        CREATE SCHEMA nightscan_engine;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS nightscan_engine.schema_versions (
    version    integer     PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

GRANTS = """
GRANT USAGE ON SCHEMA nightscan_engine TO {role};
GRANT SELECT ON nightscan_engine.schema_versions, nightscan_engine.detections TO {role};
GRANT SELECT, INSERT, DELETE ON nightscan_engine.answers TO {role};
GRANT EXECUTE ON FUNCTION nightscan_engine.make_month(timestamptz) TO {role};
GRANT EXECUTE ON FUNCTION nightscan_engine.forget_months(timestamptz) TO {role};
"""
