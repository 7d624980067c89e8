-- no-transaction
CREATE INDEX CONCURRENTLY shop_a ON shop (a);
