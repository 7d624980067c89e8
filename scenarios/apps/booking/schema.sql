CREATE TABLE seats (id int PRIMARY KEY, taken boolean NOT NULL DEFAULT false);
CREATE TABLE bookings (id bigserial PRIMARY KEY, seat int NOT NULL REFERENCES seats, customer text NOT NULL);
INSERT INTO seats (id) VALUES (1), (2);
