SELECT set_config('lock_timeout', '5s', true);
ALTER TABLE drift_events DROP COLUMN reference;
