-- Folds events with the same business key into the newest one; the surplus moves to an archive.
-- May be run again, and is, when duplicates arrive between this step and the index of step 3.
CREATE TABLE IF NOT EXISTS drift_events_archive (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    payer TEXT NOT NULL,
    cpt_group TEXT NOT NULL,
    drift_type TEXT NOT NULL,
    baseline_value REAL NOT NULL,
    current_value REAL NOT NULL,
    delta REAL NOT NULL,
    severity REAL NOT NULL,
    confidence REAL NOT NULL,
    baseline_start TEXT NOT NULL,
    baseline_end TEXT NOT NULL,
    current_start TEXT NOT NULL,
    current_end TEXT NOT NULL,
    kept_id INTEGER NOT NULL
) STRICT;

INSERT INTO drift_events_archive (
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end, kept_id
)
SELECT
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end, kept_id
FROM (
    SELECT *, max(id) OVER (PARTITION BY customer_id, run_id, payer, cpt_group, drift_type) AS kept_id
    FROM drift_events
)
WHERE id < kept_id;

DELETE FROM drift_events WHERE id IN (SELECT id FROM drift_events_archive);
