CREATE UNIQUE INDEX index_tags_on_name ON tags (name);
