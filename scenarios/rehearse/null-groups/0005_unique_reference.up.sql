-- no-transaction
CREATE UNIQUE INDEX CONCURRENTLY drift_events_unique_reference ON drift_events (customer_id, reference);
