INSERT INTO drift_events (
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end
)
SELECT
    id, customer_id, run_id, payer, cpt_group, drift_type,
    baseline_value, current_value, delta, severity, confidence,
    baseline_start, baseline_end, current_start, current_end
FROM drift_events_archive;

DROP TABLE drift_events_archive;
