-- no-transaction
DROP INDEX CONCURRENTLY IF EXISTS drift_events_unique_signal;
