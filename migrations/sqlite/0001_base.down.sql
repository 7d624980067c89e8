DROP TABLE drift_events;
DROP TABLE drift_runs;
DROP TABLE claims;
DROP TABLE customers;
