-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY shop_a ON shop (a);
-- +goose StatementBegin
SELECT 1;
SELECT 2;
-- +goose StatementEnd
-- +goose Down
DROP INDEX CONCURRENTLY shop_a;
