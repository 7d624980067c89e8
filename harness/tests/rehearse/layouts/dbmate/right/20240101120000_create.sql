-- migrate:up
CREATE TABLE shop (a int);

-- migrate:down
DROP TABLE shop;
