// What harness/tests/pages/run has a browser do. Called in the directory of the pages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const read = run => JSON.parse(readFileSync(`${run}/report.json`, "utf8"));
const plain = text => text.replace(/\s+/g, " ").trim();
const browser = await chromium.launch({ executablePath: process.env.BROWSER, args: ["--no-sandbox"] });

/** Opens a page, lets `use` look at it, and fails if it fetched anything, or anything went wrong in it. */
async function opened(file, { width = 1200, scheme = "light", script = true }, use) {
  const context = await browser.newContext({
    viewport: { width, height: 900 }, colorScheme: scheme, javaScriptEnabled: script,
  });
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", error => wrong.push(error.message));
  page.on("console", message => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
  page.on("request", request => request.url().startsWith("file:") || wrong.push(request.url()));
  const address = `file://${process.cwd()}/${file}`;
  await page.goto(address);
  await use(page);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= width, `${file} is ${wide} wide where ${width} are`);
  assert.deepEqual(wrong, [], file);
  await context.close();
}

const openAll = page => page.evaluate(() => document.querySelectorAll("details").forEach(one => { one.open = true; }));

/** Steps through the first counterexample with the arrow keys, and holds what is shown against the report. */
async function steps(page, of) {
  const player = page.locator(".player").first();
  const said = player.locator("output");
  const { steps, end } = of.course;
  await player.locator(".course.shown .lanes").focus();
  assert.equal(await said.textContent(), `All ${steps.length} steps`);
  for (const [at, step] of steps.entries()) {
    await page.keyboard.press(at % 2 ? "ArrowDown" : "ArrowRight");
    assert.equal(await said.textContent(), `Step ${at + 1} of ${steps.length}`);
    const moment = player.locator(".moment:visible");
    assert.equal(await moment.count(), 1, "one step's words");
    const words = plain(await moment.innerText());
    assert.ok(words.includes(plain(step.sql)), `${step.sql} in ${words}`);
    for (const event of step.events) assert.ok(words.includes(plain(event.said)), `${event.said} in ${words}`);
    const now = player.locator(".course.shown .unit[aria-current=step]");
    assert.ok(plain(await now.first().textContent()).includes(step.actor));
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-current")), "step", "focus goes with it");
    const later = await player.locator(".course.shown .unit.later").count();
    const events = steps.slice(at + 1).reduce((sum, one) => sum + one.events.length, 0);
    assert.equal(later, events, "what comes later is not yet there");
  }
  await page.keyboard.press("ArrowRight");
  assert.equal(await said.textContent(), "The end");
  const words = plain(await player.locator(".moment:visible").innerText());
  assert.ok(words.includes(plain(of.sentence)) && words.includes(end[0].rows[0][0]), words);
  await page.keyboard.press("ArrowRight");
  assert.equal(await said.textContent(), "The end", "after the end comes nothing");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await said.textContent(), `Step ${steps.length} of ${steps.length}`);
  await page.keyboard.press("Home");
  assert.equal(await said.textContent(), `All ${steps.length} steps`);
}

/** The same without the violation is one key away, with its differences marked. */
async function otherOrder(page, of) {
  const player = page.locator(".player").first();
  const other = player.locator("[data-do=other]");
  assert.equal(await other.getAttribute("aria-pressed"), "false");
  await player.locator("[data-do=next]").focus();
  await page.keyboard.press("s");
  assert.equal(await other.getAttribute("aria-pressed"), "true");
  const shown = player.locator(".course.shown");
  assert.equal(await shown.getAttribute("data-steps"), String(of.serial.steps.length));
  assert.ok(await shown.locator(".unit.differing:visible").count() > 0, "differences are marked");
  await page.keyboard.press("s");
  assert.equal(await other.getAttribute("aria-pressed"), "false");
}

const violated = read("explore").results[0].counterexamples[0];
await opened("explore.html", {}, async page => {
  // A link of the table opens its case.
  await page.locator("table a").first().click();
  await page.locator(".player").first().waitFor({ state: "visible" });
  await steps(page, violated);
  await otherOrder(page, violated);
  // A click does what keys do.
  await page.locator(".course.shown .unit").nth(1).click();
  assert.equal(await page.locator("output").first().textContent(), `Step 2 of ${violated.course.steps.length}`);
  await page.locator(".player [data-copy]").first().click();
  // The clipboard answers when it does.
  await page.locator(".player [data-copy]", { hasText: "Copied" }).first().waitFor({ timeout: 10_000 });
});
await opened("replay.html", { width: 390, scheme: "dark" }, page => steps(page, read("replay").counterexample));
// Without script every step of both orders is written out, and what would do nothing is not shown.
await opened("explore.html", { script: false }, async page => {
  await openAll(page);
  const player = page.locator(".player").first();
  const all = violated.course.steps.length + violated.serial.steps.length + 2;
  assert.equal(await player.locator(".moment:visible").count(), all);
  assert.equal(await player.locator("button:visible").count(), 0);
});

// The statement that was found fault with leads to its finding, and the finding to what to do.
await opened("rehearse.html", {}, async page => {
  const [row] = read("rehearse").results;
  await openAll(page);
  const link = page.locator(".gantt a").first();
  const target = await link.getAttribute("href");
  const words = plain(await page.locator(target).innerText());
  assert.ok(row.findings.some(of => words.includes(plain(of.sentence)) && words.includes(plain(of.advice))), words);
  const statements = row.files.reduce((sum, file) => sum + file.statements.length, 0);
  assert.equal(await page.locator(".gantt li").count(), statements);
});
// Every check that killed a mutant has its dot.
await opened("mutate.html", {}, async page => {
  const killed = read("mutate").results.filter(row => row.killed_by).reduce((sum, row) => sum + row.killed_by.length, 0);
  assert.ok(killed > 0);
  assert.equal((await page.locator(".matrix").innerText()).split("●").length - 1, killed);
});

// The kill matrix of a file leads to each mutant, which is stepped through like any counterexample.
await opened("mutate-file.html", {}, async page => {
  const rows = read("mutate-file").results.filter(row => row.change);
  const killed = rows.filter(row => row.fate === "killed");
  assert.equal(await page.locator(".matrix tbody tr").count(), rows.length);
  assert.equal((await page.locator(".matrix").innerText()).split("●").length - 1, killed.length);
  assert.equal(await page.locator(".player:visible").count(), 0, "what is as it should be is closed");
  await page.locator(".matrix a").nth(rows.indexOf(killed[0])).click();
  await page.locator(".player").first().waitFor({ state: "visible" });
  await steps(page, killed[0].counterexamples[0]);
  await otherOrder(page, killed[0].counterexamples[0]);
});
// What mends it is a table, and the first repair that holds is open with its statements.
await opened("repair.html", { width: 390 }, async page => {
  const rows = read("repair").results.filter(row => row.change);
  assert.equal(await page.locator("table.cards tbody tr").count(), rows.length);
  const held = rows.find(row => row.fate === "holds");
  const shown = plain(await page.locator("details.case[open]").innerText());
  assert.ok(held.statements.every(([place, sql]) => shown.includes(place) && shown.includes(plain(sql))), shown);
  await page.locator("summary", { hasText: "As it is" }).click();
  await steps(page, read("repair").results[0].counterexamples[0]);
});
// Sessions lie above each other over time; a wait has an arrow to whom, and a statement leads to its text.
await opened("record.html", {}, async page => {
  const { sessions } = read("record").over_time;
  assert.equal(await page.locator(".over-time-names div").count(), sessions.length);
  const waits = sessions.flatMap(session => session.waits);
  assert.ok(waits.length >= 2, "somebody waited");
  assert.equal(await page.locator(".towards").count(), waits.reduce((sum, wait) => sum + wait.waits_for.length, 0));
  const [arrow, lanes] = [await page.locator(".towards").first().boundingBox(), await page.locator(".over-time-lane").all()];
  const ends = await Promise.all(lanes.map(async lane => (await lane.boundingBox()).y));
  assert.ok(ends.some(y => arrow.y > y && arrow.y < y + 24), "it ends in a lane");
  const [wide, narrow] = [() => page.locator(".over-time-wide").evaluate(one => one.offsetWidth), await page.locator(".over-time-wide").evaluate(one => one.offsetWidth)];
  await page.locator("[data-zoom='2']").click();
  assert.ok(Math.abs(await wide() - 2 * narrow) < 2, "wider");
  assert.ok(await page.locator("[data-zoom='0.5']").isEnabled());
  // What takes less than a millisecond can be hit where it is wide enough.
  while (await page.locator("[data-zoom='2']").isEnabled()) await page.locator("[data-zoom='2']").click();
  assert.equal(await page.locator(".timeline output").textContent(), "64 times as wide");
  await page.locator(".bar.failed").first().click();
  const row = page.locator("tr:target");
  await row.waitFor({ state: "visible" });
  assert.ok(plain(await row.innerText()).includes("nonsense"));
});
// What a chart shows can be had as a file, without script.
await opened("bench.html", { script: false }, async page => {
  const links = page.locator("a.download");
  assert.equal(await links.count(), await page.locator("figure").count());
  const [download] = await Promise.all([page.waitForEvent("download"), links.first().click()]);
  assert.equal(download.suggestedFilename(), "percentiles-by-phase.csv");
  const lines = readFileSync(await download.path(), "utf8").split("\r\n");
  assert.equal(lines[0], 'series,what,per cent of the tasks,"time, ms"');
  assert.ok(lines.length > 20 && lines[1].split(",").length === 4, lines.slice(0, 3).join("\n"));
  const words = plain(await page.locator("main").innerText());
  for (const said of ["Configuration and environment", "durable: the server waits for the disk", "seed"]) assert.ok(words.includes(said), said);
});

// Pictures, to be looked at by people.
const pages = ["explore", "replay", "verify", "mutate", "rehearse", "mutate-file", "repair", "record", "bench"];
for (const name of pages) {
  for (const width of [1200, 390]) {
    for (const scheme of ["light", "dark"]) {
      await opened(`${name}.html`, { width, scheme }, async page => {
        await openAll(page);
        const player = page.locator(".player:visible").first();
        if (await player.count()) {
          const next = player.locator("[data-do=next]");
          for (let press = 0; press < 6 && await next.isEnabled(); press += 1) await next.click();
        }
        await page.screenshot({ path: `${name}-${width}-${scheme}.png`, fullPage: true });
      });
    }
  }
}
await browser.close();
console.log(`the pages ${pages.join(", ")} are as they should be; their pictures are in ${process.cwd()}`);
