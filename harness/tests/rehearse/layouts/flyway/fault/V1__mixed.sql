CREATE TABLE shop (a int);
CREATE INDEX CONCURRENTLY shop_a ON shop (a);
