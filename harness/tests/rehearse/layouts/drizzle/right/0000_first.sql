CREATE TABLE a (x int);
--> statement-breakpoint
CREATE TABLE b (x int);
