-- ACCESS EXCLUSIVE, for an instant; whatever comes while it is waited for queues behind it.
SELECT set_config('lock_timeout', '5s', true) WHERE current_setting('lock_timeout') = '0';

ALTER TABLE drift_events
    ADD CONSTRAINT drift_events_unique_signal UNIQUE USING INDEX drift_events_unique_signal;
