-- GROUP BY puts every NULL into one group; a unique index takes no two of them for the same.
DO $$
BEGIN
    IF EXISTS (SELECT FROM drift_events GROUP BY customer_id, reference HAVING count(*) > 1) THEN
        RAISE EXCEPTION 'there are duplicate references';
    END IF;
END
$$;
