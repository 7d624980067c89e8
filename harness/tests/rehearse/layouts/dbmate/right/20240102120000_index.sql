-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY shop_a ON shop (a);

-- migrate:down
DROP INDEX shop_a;
