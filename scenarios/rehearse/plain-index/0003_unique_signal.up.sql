SELECT set_config('lock_timeout', '5s', true);
CREATE UNIQUE INDEX drift_events_unique_signal
    ON drift_events (customer_id, run_id, payer, cpt_group, drift_type);
