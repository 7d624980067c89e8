-- depends: 0002.base
-- transactional: false
CREATE INDEX CONCURRENTLY shop_a ON shop (a);
