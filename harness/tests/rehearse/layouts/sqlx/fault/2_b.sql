-- first
-- no-transaction
VACUUM;
