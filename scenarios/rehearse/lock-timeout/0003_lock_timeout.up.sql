-- no-transaction
SET lock_timeout = '300ms';
