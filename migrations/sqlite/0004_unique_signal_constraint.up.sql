-- SQLite has no ADD CONSTRAINT, and the index of step 3 is all that a UNIQUE constraint is there.
-- The step exists so that a version means the same on both databases.
SELECT 1;
