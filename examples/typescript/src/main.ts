// The command line: submits tasks by their names, waits for them, follows them and their logs, cancels them.
import { parseArgs } from "node:util";
import { formatId, hasEnded, JSON_PLAIN, parseId, Taskyard } from "./client.js";
import { explain } from "./errors.js";
import type { Run } from "./generated/taskyard_api/v1/run_service.js";
import { RunState } from "./generated/taskyard_api/v1/states.js";

const USAGE = `node build/main.js [--address HOST:PORT] COMMAND

  submit [--queue Q] [--retries N] [--reference MODULE:NAME] [--no-wait] TASK [JSON ...]
              submit a run, wait for it, print its result
  wait RUN    wait for a run, print its result
  watch RUN ...
              print each change of some runs until all have ended
  logs RUN    print the log of a run until it is complete
  cancel RUN  cancel a run`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: "string", default: "127.0.0.1:4700" },
    queue: { type: "string", default: "default" },
    retries: { type: "string", default: "0" },
    reference: { type: "string" },
    "no-wait": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

async function main(yard: Taskyard, [command, ...words]: string[]): Promise<number> {
  const [first] = words;
  if (options.help || first === undefined) {
    console.error(USAGE);
    return options.help ? 0 : 2;
  }
  switch (command) {
    case "submit":
      return submit(yard, first, words.slice(1));
    case "wait":
      return show(await yard.wait(parseId(first)));
    case "watch":
      for await (const run of yard.watch(words.map(parseId))) {
        console.log(formatId(run.runId), run.name, stateOf(run));
      }
      return 0;
    case "logs":
      for await (const { messages, loggers, atUs } of yard.logs(parseId(first))) {
        messages.forEach((text, at) => {
          console.log(new Date(Number((atUs[at] ?? 0n) / 1000n)).toISOString(), loggers[at], text);
        });
      }
      return 0;
    case "cancel":
      console.log(RunState[await yard.cancel(parseId(first), "asked for on a command line")]);
      return 0;
    default:
      console.error(USAGE);
      return 2;
  }
}

async function submit(yard: Taskyard, task: string, words: string[]): Promise<number> {
  const args = words.map((word): unknown => JSON.parse(word));
  const id = await yard.submit({
    task,
    queue: options.queue,
    args,
    maxRetries: Number(options.retries),
    ...(options.reference !== undefined && { reference: options.reference }),
  });
  if (options["no-wait"]) {
    console.log(formatId(id));
    return 0;
  }
  return show(await yard.wait(id));
}

function show(run: Run): number {
  if (!hasEnded(run.state) || run.state !== RunState.RUN_STATE_COMPLETED) {
    console.error(`${stateOf(run)}: ${run.message}`);
    if (run.failure !== undefined) {
      console.error(`${run.failure.type}: ${run.failure.message}\n${run.failure.traceback}`);
    }
    return 1;
  }
  const { encoding, data } = run.result ?? { encoding: "", data: undefined };
  // Nothing is decoded in an encoding that was not announced.
  if (encoding !== JSON_PLAIN || data === undefined) console.log(`(${data?.length ?? 0} bytes of ${encoding})`);
  else console.log(JSON.stringify(JSON.parse(data.toString())));
  return 0;
}

function stateOf(run: Run): string {
  return run.stateName || RunState[run.state] || `state ${run.state}`;
}

const yard = new Taskyard(options.address);
try {
  process.exitCode = await main(yard, positionals);
} catch (error) {
  console.error(`error: ${explain(error)}`);
  process.exitCode = 2;
} finally {
  yard.close();
}
