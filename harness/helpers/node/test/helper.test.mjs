// The helper, with driftlock and PostgreSQL as they are.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DriftlockError, Violation, race } from '../driftlock.mjs';

const from = new URL('./booking.mjs', import.meta.url);
const setup = { function: 'schema', from };
const invariants = { 'sold-once': 'SELECT seat FROM bookings GROUP BY seat HAVING count(*) > 1' };
const customers = (name) => ({ customer: { function: name, from, count: 2 } });

/** What a race throws, which must be of this kind and say this. */
async function thrown(Kind, said, what) {
  await assert.rejects(race(what), (error) => {
    assert.equal(error.constructor, Kind, String(error));
    for (const one of said) assert.ok(error.message.includes(one), `${error.message}\ndoes not say: ${one}`);
    return true;
  });
}

test('a race that is lost throws what driftlock printed', () =>
  thrown(Violation, ['violation of sold-once', 'INSERT INTO bookings', "'customer-2'", 'replay: '], {
    name: 'lost', setup, invariants, actors: customers('book'),
  }));

test('a race that holds says what was seen', async () => {
  const raced = await race({ name: 'holds', setup, invariants, actors: customers('bookLocked') });
  assert.deepEqual([raced.verdict, raced.coverage, raced.violated], ['pass', 'exhausted', []]);
  assert.ok(raced.executions > 1);
});

test('a known fault is expected by the name of its check', async () => {
  const sql = 'CREATE TABLE seats (id int);\nCREATE TABLE bookings (seat int, passenger text)';
  const raced = await race({ name: 'known', setup: sql, invariants, actors: customers('book'), violates: 'sold-once' });
  assert.deepEqual([raced.verdict, raced.violated], ['violation', ['sold-once']]);
});

test('what a function throws while it is alone is told', () =>
  thrown(DriftlockError, ['RangeError: no such passenger', 'nothing runs concurrently'], {
    name: 'throws', setup, actors: { customer: { function: 'fail', from } },
  }));

test('a set-up that fails is an error with its words', () =>
  thrown(DriftlockError, ['relation "nowhere" does not exist'], {
    name: `Whatever a Test is called: ${'ö'.repeat(40)} ${'x'.repeat(80)}`, setup: 'INSERT INTO nowhere VALUES (1)', actors: customers('book'),
  }));

test('a function that no other process can find is refused', () =>
  thrown(DriftlockError, ['another process has to find the function'], {
    name: 'found', setup, actors: { customer: () => {} },
  }));

test('a module without the function is told by its name', () =>
  thrown(DriftlockError, ['exports no function nothing'], {
    name: 'nothing', setup, actors: { customer: { function: 'nothing', from } },
  }));

test('without the program it is said where it is looked for', async () => {
  const before = process.env.DRIFTLOCK;
  process.env.DRIFTLOCK = 'no-such-driftlock';
  try {
    await thrown(DriftlockError, ['put driftlock in PATH'], { name: 'none', setup, actors: customers('book') });
  } finally {
    if (before === undefined) delete process.env.DRIFTLOCK;
    else process.env.DRIFTLOCK = before;
  }
});

test('a race without a name is refused', () => thrown(DriftlockError, ['a race must have a name'], { setup, actors: {} }));
