-- Nothing was attached, so nothing is detached.
SELECT 1;
