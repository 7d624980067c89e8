-- no-transaction
DROP INDEX CONCURRENTLY drift_events_unique_reference;
