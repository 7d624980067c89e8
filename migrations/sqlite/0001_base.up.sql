-- Dates are ISO text: date() answers a date that exists with the same text, everything else with another or NULL.
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE claims (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers,
    payer TEXT NOT NULL,
    cpt_group TEXT NOT NULL,
    outcome TEXT NOT NULL,
    submitted_on TEXT NOT NULL CHECK (submitted_on IS date(submitted_on)),
    decided_on TEXT CHECK (decided_on IS date(decided_on))
) STRICT;

CREATE INDEX claims_by_window ON claims (customer_id, submitted_on);

CREATE TABLE drift_runs (
    id TEXT NOT NULL PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers,
    as_of TEXT NOT NULL CHECK (as_of IS date(as_of)),
    baseline_days INTEGER NOT NULL,
    current_days INTEGER NOT NULL,
    min_volume INTEGER NOT NULL,
    fresh INTEGER NOT NULL DEFAULT 0 CHECK (fresh IN (0, 1)),
    status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed')),
    failure TEXT
) STRICT;

CREATE UNIQUE INDEX drift_runs_identity
    ON drift_runs (customer_id, as_of, baseline_days, current_days, min_volume)
    WHERE NOT fresh;

-- Nothing forbids two events with the same business key yet: that is what steps 2 and 3 are for.
-- AUTOINCREMENT: an id is never handed out twice, so that an archived event can come back under its own.
CREATE TABLE drift_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    customer_id INTEGER NOT NULL REFERENCES customers,
    run_id TEXT NOT NULL REFERENCES drift_runs,
    payer TEXT NOT NULL,
    cpt_group TEXT NOT NULL,
    drift_type TEXT NOT NULL CHECK (drift_type IN ('DENIAL_RATE', 'DECISION_TIME')),
    baseline_value REAL NOT NULL,
    current_value REAL NOT NULL,
    delta REAL NOT NULL,
    severity REAL NOT NULL,
    confidence REAL NOT NULL,
    baseline_start TEXT NOT NULL CHECK (baseline_start IS date(baseline_start)),
    baseline_end TEXT NOT NULL CHECK (baseline_end IS date(baseline_end)),
    current_start TEXT NOT NULL CHECK (current_start IS date(current_start)),
    current_end TEXT NOT NULL CHECK (current_end IS date(current_end))
) STRICT;

CREATE INDEX drift_events_by_run ON drift_events (run_id);
