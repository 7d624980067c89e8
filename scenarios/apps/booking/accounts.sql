CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0));
CREATE TABLE transfers (id bigserial PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount int NOT NULL);
CREATE TABLE requests (key text PRIMARY KEY);
INSERT INTO accounts VALUES (1, 100), (2, 100);
