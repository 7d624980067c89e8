CREATE TABLE shop (a int);
-- Down Migration
DROP TABLE shop;
