-- Folds events with the same business key into the newest one; the surplus moves to an archive.
-- May be run again, and is, when duplicates arrive between this step and the index of step 3.

-- Writers queue behind the lock below while it is waited for: a session without a bound of its own gets one.
SELECT set_config('lock_timeout', '5s', true) WHERE current_setting('lock_timeout') = '0';

-- No foreign keys: adding them would lock customers and drift_runs until the commit.
CREATE TABLE IF NOT EXISTS drift_events_archive (
    LIKE drift_events,
    kept_id bigint NOT NULL,
    PRIMARY KEY (id)
);

-- Writers wait, readers do not. Without it a task could withdraw the event that is being kept while
-- its duplicate is archived, or update rows in another order and deadlock.
LOCK TABLE drift_events IN SHARE ROW EXCLUSIVE MODE;

WITH ranked AS (
    SELECT id, max(id) OVER (PARTITION BY customer_id, run_id, payer, cpt_group, drift_type) AS kept_id
    FROM drift_events
),
surplus AS (
    DELETE FROM drift_events AS event
    USING ranked
    WHERE event.id = ranked.id AND event.id < ranked.kept_id
    RETURNING event.*, ranked.kept_id
)
INSERT INTO drift_events_archive (
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end, kept_id
)
SELECT
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end, kept_id
FROM surplus;
