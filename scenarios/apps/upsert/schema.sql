CREATE TABLE visits (page text NOT NULL, count integer NOT NULL);
CREATE UNIQUE INDEX visits_page ON visits (page);
INSERT INTO visits VALUES ('/home', 1);
