SELECT set_config('lock_timeout', '5s', true);
ALTER TABLE drift_events
    ADD CONSTRAINT drift_events_unique_signal UNIQUE USING INDEX drift_events_unique_signal;
