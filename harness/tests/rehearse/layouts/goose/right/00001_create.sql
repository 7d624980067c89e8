-- +goose Up
CREATE TABLE shop (a int);
-- +goose StatementBegin
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    RETURN 1;
END $$;
-- +goose StatementEnd
-- +goose Down
DROP FUNCTION f();
DROP TABLE shop;
