CREATE TABLE shop (a int);
