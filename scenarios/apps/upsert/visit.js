// Counts a visit of a page.
const { Client } = require("pg");

const client = new Client({ connectionString: process.env.DATABASE_URL });
const connected = client.connect();

async function inSteps(page) {
  const { rows } = await client.query("SELECT count FROM visits WHERE page = $1", [page]);
  if (rows.length) {
    await client.query("UPDATE visits SET count = $2 WHERE page = $1", [page, rows[0].count + 1]);
  } else {
    await client.query("INSERT INTO visits (page, count) VALUES ($1, 1)", [page]);
  }
}

async function atOnce(page) {
  await client.query(
    `INSERT INTO visits (page, count) VALUES ($1, 1)
     ON CONFLICT (page) DO UPDATE SET count = visits.count + 1`,
    [page],
  );
}

async function main([page]) {
  await connected;
  await (process.env.UPSERT === "at-once" ? atOnce : inSteps)(page);
}

module.exports = { main };
if (require.main === module) {
  main(process.argv.slice(2))
    .catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    })
    .finally(() => client.end());
}
