ALTER TABLE shop ADD b int;
