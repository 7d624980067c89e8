CREATE TABLE shop (a int);
\i more.sql
