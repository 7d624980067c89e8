ALTER TABLE drift_events DROP COLUMN note;
