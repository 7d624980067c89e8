CREATE INDEX drift_events_by_payer ON drift_events (payer);
