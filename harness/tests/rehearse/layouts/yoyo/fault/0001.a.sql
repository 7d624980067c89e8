-- depends: 0009.gone
CREATE TABLE shop (a int);
