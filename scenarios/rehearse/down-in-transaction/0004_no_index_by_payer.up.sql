-- no-transaction
DROP INDEX CONCURRENTLY drift_events_by_payer;
