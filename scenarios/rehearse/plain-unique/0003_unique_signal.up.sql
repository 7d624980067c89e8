ALTER TABLE drift_events
    ADD CONSTRAINT drift_events_unique_signal UNIQUE (customer_id, run_id, payer, cpt_group, drift_type);
