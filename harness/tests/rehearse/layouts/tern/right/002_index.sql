---- tern: disable-tx ----
CREATE INDEX CONCURRENTLY shop_a ON shop (a);
---- create above / drop below ----
DROP INDEX shop_a;
