// The same work with one Node driver; prints what each statement came to, one line each.
//
// work.mjs DRIVER URL

const [driver, url] = process.argv.slice(2)

const values = [
  [0, 'int4'], [-1, 'int4'], ['9223372036854775807', 'int8'], [1.5, 'float8'], [true, 'bool'], [null, 'text'],
  ['', 'text'], ['ünïcödé ☃', 'text'], ['x'.repeat(10000), 'text'], [Buffer.from([0, 255, 1]), 'bytea'],
  ['12345.6789', 'numeric'], [new Date(1795000000000), 'timestamptz'], ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'uuid'],
  [[1, 2, 3], 'int4[]'],
]
const wrong = ['SELECT 1/0', 'SELEKT', 'SELECT nothing', "INSERT INTO work VALUES (1, 'again')", "SELECT 'x'::int"]
const table = 'CREATE TEMP TABLE work (id int PRIMARY KEY, x text)'

function say(...what) {
  console.log(what.map((one) => {
    const text = JSON.stringify(one) ?? 'undefined'
    return text.length < 200 ? text : `${text.slice(0, 100)}…${text.length}`
  }).join(' '))
}

async function pgWork() {
  const { default: pg } = await import('pg')
  const client = new pg.Client(url)
  await client.connect()
  const run = async (query, values) => {
    try {
      const result = await client.query(query, values)
      const all = Array.isArray(result) ? result : [result]
      say(all.map((one) => [one.command, one.rowCount, one.rows]))
    } catch (error) {
      say(error.code, error.message)
    }
  }
  await run(table)
  for (let turn = 0; turn < 25; turn++) {
    for (const [value, kind] of values) await run(`SELECT $1::${kind} AS value`, [value])
  }
  for (let n = 0; n < 200; n++) {
    await run({ name: 'insert', text: 'INSERT INTO work VALUES ($1, $2) RETURNING id', values: [n % 150, 'row'] })
  }
  for (let n = 0; n < 40; n++) await run(wrong[n % wrong.length])
  await run('SELECT 1; SELECT 2; SELECT 1/0; SELECT 3')
  for (let n = 0; n < 40; n++) {
    for (const sql of ['BEGIN', 'SAVEPOINT s', wrong[n % wrong.length], 'SELECT 1', 'ROLLBACK TO s', 'SELECT 2', 'COMMIT']) {
      await run(sql)
    }
  }
  const heard = new Promise((resolve) => client.on('notification', resolve))
  await run('LISTEN n')
  await run("NOTIFY n, 'hello'")
  say((await heard).payload)
  const queued = await Promise.allSettled(Array.from({ length: 100 }, (_, n) => client.query('SELECT 10 / $1::int', [n % 10])))
  say(queued.map((one) => one.value?.rows ?? one.reason.code))
  await run({ text: "SELECT length(repeat('x', 64000000)), repeat('x', 64000000)" })
  await client.end()
}

async function postgresWork() {
  const { default: postgres } = await import('postgres')
  const sql = postgres(url, { max: 1, onnotice: (notice) => say(notice.code), connection: { application_name: 'work' } })
  const run = async (query) => {
    try {
      const rows = await query()
      say(rows.command, rows.count, rows)
    } catch (error) {
      say(error.code, error.message)
    }
  }
  await run(() => sql.unsafe(table))
  for (let turn = 0; turn < 25; turn++) {
    for (const [value, kind] of values) await run(() => sql.unsafe(`SELECT $1::${kind} AS value`, [value], { prepare: turn % 2 > 0 }))
  }
  for (let n = 0; n < 200; n++) await run(() => sql`INSERT INTO work VALUES (${n % 150}, ${'row'}) RETURNING id`)
  for (let n = 0; n < 40; n++) await run(() => sql.unsafe(wrong[n % wrong.length]))
  for (let n = 0; n < 40; n++) {
    await run(() => sql.begin(async (sql) => {
      await sql`SELECT 1`
      await sql.savepoint((sql) => sql.unsafe(wrong[n % wrong.length])).catch((error) => say(error.code))
      return sql`SELECT 2 AS two`
    }))
  }
  let total = 0
  await sql`SELECT id FROM work ORDER BY id`.cursor(70, (rows) => { for (const row of rows) total += row.id })
  say(total)
  // No readable COPY: postgres.js 3.4.9 leaves its socket paused after one now and then, without a proxy too.
  const { Readable } = await import('node:stream')
  const { pipeline } = await import('node:stream/promises')
  const sink = await sql`COPY work FROM STDIN`.writable()
  await pipeline(Readable.from(Array.from({ length: 5000 }, (_, n) => `${n + 1000}\trow ${n}\n`)), sink)
  const all = await Promise.allSettled(Array.from({ length: 100 }, (_, n) => sql`SELECT 10 / ${n % 10}::int AS n`))
  say(all.map((one) => one.value ?? one.reason.code))
  const sleeping = sql`SELECT pg_sleep(30)`
  setTimeout(() => sleeping.cancel(), 300)
  await run(() => sleeping)
  let heard
  const hearing = new Promise((resolve) => { heard = resolve })
  await sql.listen('n', heard)
  await sql.notify('n', 'hello')
  say(await hearing)
  await run(() => sql`SELECT repeat('x', 64000000) AS x`)
  await sql.end()
}

async function knexWork() {
  const { default: knex } = await import('knex')
  const db = knex({ client: 'pg', connection: url, pool: { min: 1, max: 4 } })
  await db.schema.dropTableIfExists('thing_knex')
  await db.schema.createTable('thing_knex', (table) => {
    table.increments('id')
    table.string('name').unique()
    table.jsonb('data')
  })
  for (let n = 0; n < 300; n++) say(await db('thing_knex').insert({ name: `thing ${n}`, data: { n } }).returning('id'))
  for (let n = 0; n < 300; n++) {
    await db('thing_knex').insert({ name: `thing ${n}` }).catch((error) => say(error.code))
    if (n % 3 === 0) {
      await db.transaction(async (trx) => {
        say(await trx('thing_knex').where('id', '<', n).forUpdate().count())
        await trx.transaction((nested) => nested.raw(wrong[n % 3])).catch((error) => say(error.code))
        await trx('thing_knex').where('name', `thing ${n}`).update({ data: null })
      }).catch((error) => say(error.code))
    }
  }
  say(await db('thing_knex').whereNull('data').orderBy('id').select('name'))
  await db.schema.dropTable('thing_knex')
  await db.destroy()
}

await { pg: pgWork, postgres: postgresWork, knex: knexWork }[driver]()
