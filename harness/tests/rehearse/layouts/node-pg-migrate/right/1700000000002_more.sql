-- Up Migration
ALTER TABLE shop ADD b int;
