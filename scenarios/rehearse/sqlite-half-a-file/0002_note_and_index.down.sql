DROP INDEX drift_events_unique_signal;
ALTER TABLE drift_events DROP COLUMN note;
