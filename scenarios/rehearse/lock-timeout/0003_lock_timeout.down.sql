-- no-transaction
RESET lock_timeout;
