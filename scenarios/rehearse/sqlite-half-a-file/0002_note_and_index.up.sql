-- no-transaction
ALTER TABLE drift_events ADD COLUMN note TEXT;
CREATE UNIQUE INDEX drift_events_unique_signal
    ON drift_events (customer_id, run_id, payer, cpt_group, drift_type);
