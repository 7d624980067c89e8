DROP INDEX drift_events_by_payer;
