import pg from 'pg';

async function connected(job) {
  const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  try {
    return await job(client);
  } finally {
    await client.end();
  }
}

export const schema = () =>
  connected((client) => client.query('CREATE TABLE seats (id int); INSERT INTO seats VALUES (1); CREATE TABLE bookings (seat int, passenger text)'));

const booking = (seat) => (actor) =>
  connected(async (client) => {
    console.log('what a function prints is no answer');
    await client.query('BEGIN');
    await client.query(seat);
    const { rows } = await client.query('SELECT count(*)::int AS taken FROM bookings WHERE seat = 1');
    if (rows[0].taken === 0) await client.query('INSERT INTO bookings (seat, passenger) VALUES (1, $1)', [actor]);
    await client.query('COMMIT');
    return rows[0].taken === 0 ? 'booked' : 'taken';
  });

export const book = booking('SELECT id FROM seats WHERE id = 1');
export const bookLocked = booking('SELECT id FROM seats WHERE id = 1 FOR UPDATE');

export const fail = () =>
  connected(async (client) => {
    await client.query('INSERT INTO bookings (seat) VALUES (1)');
    throw new RangeError('no such passenger');
  });
