CREATE INDEX CONCURRENTLY drift_events_by_payer ON drift_events (payer);
