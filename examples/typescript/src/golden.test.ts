// The canonical messages of the contract are the same in TypeScript.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as agents from "./generated/taskyard_api/v1/agent_service.js";
import * as errors from "./generated/taskyard_api/v1/errors.js";
import * as runs from "./generated/taskyard_api/v1/run_service.js";
import * as sessions from "./generated/taskyard_api/v1/session_service.js";

interface Golden {
  name: string;
  message: string;
  json: unknown;
  hex: string;
}

interface Codec {
  fromJSON(json: unknown): unknown;
  encode(message: never): { finish(): Uint8Array };
}

const PREFIX = "taskyard_api.v1.";
const codecs = { ...agents, ...errors, ...runs, ...sessions } as unknown as Record<string, Codec>;
const file = new URL("../../../tests/conformance/golden.json", import.meta.url);
const messages = JSON.parse(readFileSync(file, "utf8")) as Golden[];

// google.rpc.Status is read by hand here, see errors.ts.
for (const { name, message, json, hex } of messages.filter((golden) => golden.message.startsWith(PREFIX))) {
  test(name, () => {
    const codec = codecs[message.slice(PREFIX.length)];
    assert.ok(codec, `no code for ${message}`);
    const bytes = codec.encode(codec.fromJSON(json) as never).finish();
    assert.equal(Buffer.from(bytes).toString("hex"), hex);
  });
}
