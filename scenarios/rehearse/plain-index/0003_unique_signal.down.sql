SELECT set_config('lock_timeout', '5s', true);
DROP INDEX drift_events_unique_signal;
