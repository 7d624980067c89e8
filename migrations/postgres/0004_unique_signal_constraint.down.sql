-- A constraint takes its index with it. The index of step 3 has to be back at the commit: ON CONFLICT needs it.
SELECT set_config('lock_timeout', '5s', true) WHERE current_setting('lock_timeout') = '0';

ALTER TABLE drift_events DROP CONSTRAINT drift_events_unique_signal;

-- driftlock builds the spare concurrently beforehand, which leaves an instant of ACCESS EXCLUSIVE.
-- Any other tool gets a plain build: the table is locked for as long as that takes.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indexrelid = to_regclass('drift_events_unique_signal_spare')
            AND indrelid = 'drift_events'::regclass
            AND indisvalid
    ) THEN
        ALTER INDEX drift_events_unique_signal_spare RENAME TO drift_events_unique_signal;
    ELSE
        CREATE UNIQUE INDEX drift_events_unique_signal
            ON drift_events (customer_id, run_id, payer, cpt_group, drift_type);
    END IF;
END
$$;
