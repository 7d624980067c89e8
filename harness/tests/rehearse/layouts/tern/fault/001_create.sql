CREATE TABLE shop (a int);
---- create above / drop below ----
DROP TABLE shop;
