// Keeps a program warm: requires MODULE once, and calls its main(arguments) for each job that standard input names.
//
//     node worker.js MODULE ARGUMENTS…
//
// One JSON line a job, and one in answer. What the program prints goes to standard error.
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const [module_, ...given] = process.argv.slice(2);
const answer = (line) => fs.writeSync(1, JSON.stringify(line) + "\n");
process.stdout.write = process.stderr.write.bind(process.stderr);

async function work() {
  const { main } = require(path.resolve(module_));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { actor } = JSON.parse(line);
    try {
      const said = await main(given.map((argument) => argument.replaceAll("{actor}", actor)));
      answer({ ok: true, answer: said });
    } catch (error) {
      console.error(error);
      answer({ ok: false, error: error.message });
    }
  }
}

work().then(() => process.exit());
