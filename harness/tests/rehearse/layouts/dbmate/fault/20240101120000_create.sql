-- migrate:up
CREATE TABLE shop (a int);
