INSERT INTO knex_migrations_lock (is_locked) VALUES (0);
