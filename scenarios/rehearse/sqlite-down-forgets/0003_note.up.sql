ALTER TABLE drift_events ADD COLUMN note TEXT;
CREATE INDEX drift_events_by_payer ON drift_events (payer);
