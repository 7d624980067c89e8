SELECT set_config('lock_timeout', '5s', true);
ALTER TABLE drift_events DROP CONSTRAINT drift_events_unique_signal;
