// What an application does when it starts: it migrates, unless another instance is at it (then: exit 75, try later).
const { default: migrate } = require("node-pg-migrate");

migrate({
  databaseUrl: process.env.DATABASE_URL,
  dir: "migrations",
  direction: "up",
  migrationsTable: "pgmigrations",
  log: console.error,
}).catch((error) => {
  console.error(error.message);
  process.exitCode = /already running/.test(error.message) ? 75 : 1;
});
