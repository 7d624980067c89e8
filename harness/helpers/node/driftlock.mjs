// Races functions against each other, in every order of what they ask of PostgreSQL, from a test of node:test, Jest or
// any other runner.
//
//     import { race } from 'driftlock';
//     import { test } from 'node:test';
//
//     test('two increments are two', () => race({
//       name: 'counter',
//       setup: 'CREATE TABLE counter (value int); INSERT INTO counter VALUES (0)',
//       actors: { counter: { function: 'increment', from: new URL('./counter.mjs', import.meta.url), count: 2 } },
//       invariants: { 'counted-twice': 'SELECT value FROM counter WHERE value <> 2' },
//     }));
//
// Each actor is a process of its own: it imports the module, and calls the function once for each order, with the actor's
// name, and with a DATABASE_URL of its own in its environment. It speaks with driftlock as a `worker` of an application's
// file does: a line of JSON each way. What was written for driftlock, and what it printed, is in `.driftlock/NAME`, until
// the race is run again.
//
// Needs the program `driftlock` in PATH, or its place in the environment variable DRIFTLOCK.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** There is an order in which something that must hold does not. The message shows it. */
export class Violation extends Error {}
/** Driftlock has no answer: something was not put to the test. The message says what. That is never a pass. */
export class Inconclusive extends Error {}
/** There is no race: driftlock is missing, or PostgreSQL; or the set-up fails, or an actor while it is alone. */
export class DriftlockError extends Error {}

/**
 * Visits every order of what the actors ask of the database that matters.
 *
 * @param {object} what
 * @param {string} what.name of what is shown, and of the directory in `.driftlock`
 * @param {Object<string, {function: string, from: string | URL, count?: number}>} what.actors by name, a function that a
 *   module exports, and how many do the same [1]; what it throws is a violation, unless it does so while it is alone
 * @param {string | {function: string, from: string | URL}} what.setup SQL (psql runs it), or a function, that makes the
 *   state in which everything begins
 * @param {Object<string, string>} [what.invariants] by name, queries that must return no row at the end
 * @param {boolean} [what.serial] the outcome must be that of some serial order [where there are no invariants]
 * @param {string} [what.violates] the check that is expected to be violated, so that a test shows a known fault
 * @param {string} [what.faults] what is let fail at every place, as `--faults` takes it
 * @param {number} [what.budget] after how many seconds the search is stopped, and has no answer [60]
 * @param {string[]} [what.options] further arguments of `driftlock explore`
 * @returns {Promise<{verdict: string, violated: string[], coverage: string, executions: number, printed: string}>}
 */
export async function race({ name, budget = 60, faults, options = [], ...what }) {
  const place = fresh(name);
  const file = path.join(place, 'race.toml');
  fs.writeFileSync(file, application(place, what));
  const given = ['explore', file, '--output', path.join(place, 'run'), '--color', 'never', '--budget', `${Math.ceil(budget)}s`];
  const code = await run(place, [...given, ...(faults ? ['--faults', faults] : []), ...options], Math.ceil(budget) + 300);
  const printed = fs.readFileSync(path.join(place, 'printed.txt'), 'utf8').trim();
  if (code !== 0) {
    const Kind = { 1: Violation, 3: Inconclusive }[code] ?? DriftlockError;
    throw new Kind(`driftlock explore ended with ${code}\n\n${printed}\n\nThe race: ${file}`);
  }
  const [row] = JSON.parse(fs.readFileSync(path.join(place, 'run', 'report.json'), 'utf8')).results;
  const violated = row.checks.filter((check) => check.verdict === 'violation').map((check) => check.name);
  return { verdict: row.verdict, violated, coverage: row.coverage, executions: row.executions, printed };
}

/** Runs driftlock to its end: its exit code. */
function run(place, given, seconds) {
  const output = fs.openSync(path.join(place, 'printed.txt'), 'w');
  const program = process.env.DRIFTLOCK || 'driftlock';
  return new Promise((resolve, reject) => {
    const child = spawn(program, given, { stdio: ['ignore', output, output] });
    // Whoever interrupts the tests by their process alone interrupts driftlock too: it takes its server down.
    const interrupt = () => child.kill('SIGINT');
    process.once('exit', interrupt);
    const late = setTimeout(() => {
      interrupt();
      setTimeout(() => child.kill('SIGKILL'), 20_000).unref();
      reject(new DriftlockError(`driftlock did not end within ${seconds} s`));
    }, seconds * 1000);
    child.once('error', () =>
      reject(new DriftlockError(`there is no program '${program}': put driftlock in PATH, or its place in DRIFTLOCK`)));
    child.once('close', (code, signal) => (signal ? reject(new DriftlockError(`${signal} ended driftlock`)) : resolve(code)));
    child.once('error', () => clearTimeout(late));
    child.once('close', () => (clearTimeout(late), process.off('exit', interrupt)));
  }).finally(() => fs.closeSync(output));
}

/** An empty directory for a race, the same each time. */
function fresh(name) {
  const place = path.resolve('.driftlock', word(name));
  fs.rmSync(place, { recursive: true, force: true });
  fs.mkdirSync(place, { recursive: true });
  fs.writeFileSync(path.resolve('.driftlock', '.gitignore'), '*\n');
  return place;
}

/** A name as driftlock has them: lower-case words with hyphens, not too long. */
function word(name) {
  const words = String(name ?? '').toLowerCase().match(/[a-z0-9]+/g);
  if (!words) throw new DriftlockError(`a race must have a name of letters or digits, and ${JSON.stringify(name)} is none`);
  const all = words.join('-');
  return all.length <= 60 ? all : `${all.slice(0, 51)}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`.replace('--', '-');
}

/** The application's file. */
function application(place, { actors = {}, setup, invariants = {}, serial, violates }) {
  const name = path.basename(place);
  const lines = [`name = ${text(name)}`, `summary = ${text(`A test of ${name}`)}`];
  if (typeof setup === 'string') {
    fs.writeFileSync(path.join(place, 'setup.sql'), setup);
    lines.push('setup = "psql -X -q -v ON_ERROR_STOP=1 -f setup.sql"');
  } else {
    lines.push(`setup = ${text(`${worker(setup)} --once`)}`);
  }
  if (serial !== undefined) lines.push(`serial = ${Boolean(serial)}`);
  if (violates !== undefined) lines.push(`violates = ${text(violates)}`);
  for (const [actor, job] of Object.entries(actors)) {
    lines.push('[[actor]]', `name = ${text(actor)}`, `count = ${Number(job.count ?? 1)}`, `worker = ${text(worker(job))}`);
  }
  for (const [invariant, sql] of Object.entries(invariants)) {
    lines.push('[[invariant]]', `name = ${text(invariant)}`, `sql = ${text(sql)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** A string of JSON is one of TOML, but for one character. */
const text = (string) => JSON.stringify(String(string)).replaceAll('\x7f', '\\u007f');
const quoted = (word) => `'${word.replaceAll("'", `'\\''`)}'`;

/** The command that calls a function. */
function worker(job) {
  if (typeof job?.function !== 'string' || !job.from) {
    throw new DriftlockError(
      'another process has to find the function: name it, as { function: "book", from: new URL("./book.mjs", import.meta.url) }');
  }
  const from = String(job.from).startsWith('file:') ? fileURLToPath(job.from) : path.resolve(String(job.from));
  const words = [process.execPath, fileURLToPath(import.meta.url), from, job.function];
  return `cd ${quoted(process.cwd())} && exec ${words.map(quoted).join(' ')}`;
}

/** What an actor's process does. */
async function work(file, name, once) {
  // What the function prints is not an answer.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const module = await import(pathToFileURL(file));
  const job = module[name] ?? module.default?.[name];
  if (typeof job !== 'function') throw new TypeError(`${file} exports no function ${name}`);
  if (once) return void (await job('setup'));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { ok: true, answer: await job(JSON.parse(line).actor) };
    } catch (error) {
      console.error(error);
      answer = { ok: false, error: String(error) };
    }
    fs.writeSync(1, `${JSON.stringify(answer)}\n`);
  }
}

if (process.argv[1] && fs.existsSync(process.argv[1]) && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  work(...process.argv.slice(2)).then(() => process.exit(), (error) => (console.error(error), process.exit(1)));
}
